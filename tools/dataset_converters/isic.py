"""Sort the images of ISIC 2018, task 1, into class folders: 1 nevus, 2 melanoma, 3 seborrheic keratosis."""
from mmfss.commands.dataset_converters.isic import main

if __name__ == '__main__':
    main()
