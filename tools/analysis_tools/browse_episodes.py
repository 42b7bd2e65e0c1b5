"""Draw the episodes of a config: the query and its supports with their masks, as the model receives them."""
from mmfss.commands.browse_episodes import main

if __name__ == '__main__':
    main()
