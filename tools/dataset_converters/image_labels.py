"""Image-level labels from masks, see :mod:`mmfss.commands.dataset_converters.image_labels`."""
from mmfss.commands.dataset_converters.image_labels import main

if __name__ == '__main__':
    main()
