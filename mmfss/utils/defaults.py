"""Choices and default values that command lines show: nothing here imports PyTorch."""

# Parts of the query that can be explained.
REGIONS = ('prediction', 'ground_truth', 'all')
# What tools/explain.py runs for a config that does not say it.
EXPLAINERS = ['unmasked_affex', 'masked_affex', 'signed_affex', 'random']
METRICS = ['miou_loss@1%', 'miou_loss@5%']
EPISODES = 50

# What a resumed run does if the config has another schedule than the checkpoint.
RESUME_SCHEDULES = ('exact', 'config', 'checkpoint')

# The smallest object for which an image is listed: fewer pixels than 32 x 32 make no useful support.
MIN_PIXELS = 1024

# Image sets of PASCAL VOC from which lists are built, by split.
VOC_IMAGE_SETS = dict(
    train='ImageSets/Segmentation/trainaug.txt',
    val='ImageSets/Segmentation/val.txt',
    test='ImageSets/Segmentation/val.txt')
# What the pixels of COCO's crowd regions can be.
CROWD = ('foreground', 'ignore', 'background')
# Class colours of DeepGlobe: as they are, and as the script released with DMTNet reads them.
DEEPGLOBE_VARIANTS = ('rgb', 'released')
# The embedded shapes dataset.
SHAPES_TRAIN, SHAPES_VAL, SHAPES_SIDE, SHAPES_SEED = 2400, 600, 128, 0

DEFAULT_MODEL = 'prototype_efficientnet-lite2_own'
"""Model of the demonstration and the inferencer where none is named; it needs no checkpoint."""
