"""Open the page on which pictures are segmented by examples, and predictions explained."""
from mmfss.commands.app import main

if __name__ == '__main__':
    main()
