"""Build COCO-20i split lists from the annotations, for use where the published lists are not at hand."""
from mmfss.commands.dataset_converters.coco20i_lists import main

if __name__ == '__main__':
    main()
