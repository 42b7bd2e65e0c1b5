"""The cross-domain datasets in small."""
from mmfss.datasets import DeepGlobeDataset, ISICDataset, LungDataset
from tests.test_datasets.layouts import PIPELINE, write_deepglobe, write_isic, write_lung

SETS = dict(
    deepglobe=(DeepGlobeDataset, write_deepglobe), isic=(ISICDataset, write_isic), lung=(LungDataset, write_lung)
)
IMAGES = 'ISIC2018_Task1-2_Training_Input'
MASKS = 'ISIC2018_Task1_Training_GroundTruth'


def build(name, root, **kwargs):
    return SETS[name][0](**dict(dict(data_root=str(root), pipeline=PIPELINE), **kwargs))
