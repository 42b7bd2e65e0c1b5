"""Choose the threshold of a model on validation episodes, for each fold on those of the other folds."""
from mmfss.commands.choose_threshold import main

if __name__ == '__main__':
    main()
