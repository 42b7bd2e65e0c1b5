"""Build PASCAL-5i split lists from the masks, for use where the published lists are not at hand."""
from mmfss.commands.dataset_converters.pascal5i_lists import main

if __name__ == '__main__':
    main()
