"""Build FSS-1000 split lists from the category folders, for use where the published lists are not at hand."""
from mmfss.commands.dataset_converters.fss1000_lists import main

if __name__ == '__main__':
    main()
