"""Choose support images: ``python tools/select_support.py CONFIG CHECKPOINT --shots 1 3``."""
from mmfss.commands.select_support import main

if __name__ == '__main__':
    main()
