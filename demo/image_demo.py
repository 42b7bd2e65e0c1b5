"""Segment pictures by the example of annotated ones."""
from mmfss.commands.image_demo import main

if __name__ == '__main__':
    main()
