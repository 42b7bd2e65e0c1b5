"""Set the small group weights of a stage-2 model to 0 and report how sparse the groups are."""
from mmfss.commands.threshold_groups import main

if __name__ == '__main__':
    main()
