"""Test the folds of a benchmark and print the row of a paper's table, or the rows of several models."""
from mmfss.commands.cross_validate import main

if __name__ == '__main__':
    main()
