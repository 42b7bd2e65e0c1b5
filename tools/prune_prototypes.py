"""Prune the prototypes of a pushed model as ProtoSeg does, over the data of the config's PrototypePushHook."""
from mmfss.commands.prune_prototypes import main

if __name__ == '__main__':
    main()
