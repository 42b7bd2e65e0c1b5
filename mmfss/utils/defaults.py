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
