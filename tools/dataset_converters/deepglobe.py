"""Cut DeepGlobe land cover into the tiles and class masks of the cross-domain benchmark."""
from mmfss.commands.dataset_converters.deepglobe import main

if __name__ == '__main__':
    main()
