"""Make the embedded shapes dataset, which otherwise is made when it is first used."""
from mmfss.commands.dataset_converters.make_shapes import main

if __name__ == '__main__':
    main()
