"""Renamed: ``tools/train.py`` trains configs with phases too, with the same options."""
import sys

from mmfss.commands.train import main

if __name__ == '__main__':
    print('tools/train_scaleproto.py is now tools/train.py, with the same options.', file=sys.stderr)
    main()
