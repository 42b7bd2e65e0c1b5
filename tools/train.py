"""Train a model: ``python tools/train.py CONFIG``."""
from mmfss.commands.train import main

if __name__ == '__main__':
    main()
