"""Test a model: ``python tools/test.py CONFIG CHECKPOINT``."""
from mmfss.commands.test import main

if __name__ == '__main__':
    main()
