"""Turn a COCO instances file into class-number PNGs: 0 background, class + 1 (classes sorted by category id)."""
from mmfss.commands.dataset_converters.coco_masks import main

if __name__ == '__main__':
    main()
