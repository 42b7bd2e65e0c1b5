"""Read every image and mask of a dataset once and list all faults: before a long training, or after it met one."""
from mmfss.commands.check_dataset import main

if __name__ == '__main__':
    main()
