"""Push the prototypes of a checkpoint: replace each by its nearest training feature, and show where it comes from."""
from mmfss.commands.push_prototypes import main

if __name__ == '__main__':
    main()
