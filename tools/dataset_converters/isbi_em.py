"""Cut the volumes of the ISBI 2012 electron microscopy challenge into slices, 20 to train and 10 to validate."""
from mmfss.commands.dataset_converters.isbi_em import main

if __name__ == '__main__':
    main()
