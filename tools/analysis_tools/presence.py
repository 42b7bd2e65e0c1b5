"""Calibrate and measure scores of whether a class is in a query at all."""
from mmfss.commands.presence import main

if __name__ == '__main__':
    main()
