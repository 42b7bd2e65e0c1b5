"""``python -m mmfss``: the command ``mmfss``."""
from mmfss.commands.main import main

if __name__ == '__main__':
    main()
