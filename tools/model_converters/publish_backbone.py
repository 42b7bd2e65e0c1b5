"""Cut the backbone out of a training checkpoint: ``python tools/model_converters/publish_backbone.py SRC DST``."""
from mmfss.commands.model_converters.publish_backbone import main

if __name__ == '__main__':
    main()
