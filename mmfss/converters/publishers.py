"""Where the datasets are published: addresses, checksums, and where their files belong.

Checksums and sizes are those that torchvision.datasets (VOC, SBD) and tensorflow-datasets (COCO) list. Where none is
published, none is given: zip archives hold a CRC of every file, which is checked on unpacking.
"""
from typing import NamedTuple, Tuple


class Archive(NamedTuple):
    """One published archive.

    Attributes:
        url (str): Its address.
        folder (str): Folder below the data root that its files belong to.
        files (str): Pattern of the wanted files; its group is the path below ``folder``.
        checksum (str): ``'md5:...'`` or ``'sha256:...'``; empty if none is published.
        size (int): Size in bytes; 0 if none is published.
        name (str): File name, where the address does not end with it.
    """
    url: str
    folder: str
    files: str = r'^(.+)$'
    checksum: str = ''
    size: int = 0
    name: str = ''

    @property
    def file_name(self) -> str:
        """str: Name of the archive's file."""
        return self.name or self.url.rsplit('/', 1)[-1]


class Publication(NamedTuple):
    """One dataset as it is published.

    Attributes:
        title (str): Its name.
        page (str): The publisher's page, with the terms of use.
        disk (str): Size of the download.
        archives (tuple[Archive, ...]): What to fetch.
        then (str): What the user has to do next; empty if nothing.
    """
    title: str
    page: str
    disk: str
    archives: Tuple[Archive, ...]
    then: str = ''


_COCO = 'http://images.cocodataset.org'
_COCO_IMAGES = r'^((?:train|val)20\d\d/\w+\.jpg)$'
_ISIC = 'https://isic-challenge-data.s3.amazonaws.com/2018'

PUBLICATIONS = dict(
    voc2012=Publication(
        'PASCAL VOC 2012', 'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/', '2.0 GB', (Archive(
            'https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
            'VOCdevkit',
            r'^VOCdevkit/(VOC2012/.+)$',
            'md5:6cd6e144f989b92b3379bac3b3de84fd',
            size=1999639040), )),
    sbd=Publication(
        'Semantic Boundaries Dataset, merged into SegmentationClassAug of VOC 2012',
        'http://home.bharathh.info/pubs/codes/SBD/download.html', '1.4 GB', (Archive(
            'https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz',
            'VOCdevkit/VOC2012',
            checksum='md5:82b4d87ceb2ed10f6038a1cba92111cb'), )),
    coco2014=Publication(
        'COCO 2014', 'https://cocodataset.org/#download', '20.4 GB', (
            Archive(
                f'{_COCO}/annotations/annotations_trainval2014.zip',
                'coco2014',
                r'^(annotations/instances_(?:train|val)2014\.json)$',
                'sha256:031296bbc80c45a1d1f76bf9a90ead27e94e99ec629208449507a4917a3bf009',
                size=252872794),
            Archive(
                f'{_COCO}/zips/val2014.zip',
                'coco2014',
                _COCO_IMAGES,
                'sha256:fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0',
                size=6645013297),
            Archive(
                f'{_COCO}/zips/train2014.zip',
                'coco2014',
                _COCO_IMAGES,
                'sha256:ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775',
                size=13510573713),
        )),
    fss1000=Publication(
        'FSS-1000', 'https://github.com/HKUSTCV/FSS-1000', 'not published', (Archive(
            'https://drive.usercontent.google.com/download?id=16TgqOeI_0P41Eh3jWQlxlRXG9KIqtMgI&export=download&confirm=t',
            'FSS-1000',
            r'([^/]+/(?:[1-9]|10)\.(?:jpg|png))$',
            name='fewshot_data.zip'), )),
    lvis=Publication(
        'LVIS v1, validation part, with the photographs of COCO 2017', 'https://www.lvisdataset.org/dataset',
        '20.3 GB', (
            Archive('https://dl.fbaipublicfiles.com/LVIS/lvis_v1_val.json.zip', 'lvis', r'(lvis_v1_val\.json)$'),
            Archive(
                f'{_COCO}/zips/val2017.zip',
                'lvis',
                _COCO_IMAGES,
                'sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05',
                size=815585330),
            Archive(
                f'{_COCO}/zips/train2017.zip',
                'lvis',
                _COCO_IMAGES,
                'sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929',
                size=19336861798),
        )),
    ade20k=Publication(
        'ADE20K (scene parsing challenge 2016)', 'http://sceneparsing.csail.mit.edu/', 'about 1 GB', (Archive(
            'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip', 'ade',
            r'^(ADEChallengeData2016/.+)$'), )),
    isic=Publication(
        'ISIC 2018, task 1', 'https://challenge.isic-archive.com/data/#2018', 'about 10 GB', (
            Archive(f'{_ISIC}/ISIC2018_Task1_Training_GroundTruth.zip', 'ISIC',
                    r'^(ISIC2018_Task1_Training_GroundTruth/\w+\.png)$'),
            Archive(f'{_ISIC}/ISIC2018_Task1-2_Training_Input.zip', 'ISIC',
                    r'^(ISIC2018_Task1-2_Training_Input/\w+\.jpg)$'),
        ),
        'Sort it into classes with tools/dataset_converters/isic.py, which needs class_id.csv of the cross-domain '
        'benchmark.'),
)

# The lists of the official DCAMA implementation, which are also HSNet's; this commit is the one of the checksums.
SPLITS_URL = ('https://raw.githubusercontent.com/pawn-sxy/DCAMA/37fa0539edfc293efeb163fa31e0f9ac032779b8/data/splits/'
              '{benchmark}/{part}')

# Datasets behind a registration, and what to do.
BY_HAND = dict(
    deepglobe='DeepGlobe is published behind a registration: https://competitions.codalab.org/competitions/18468. Then '
    'run tools/dataset_converters/deepglobe.py.',
    lung='The chest X-rays are published behind a registration: '
    'https://www.kaggle.com/datasets/nikhilpandey360/chest-xray-masks-and-labels. Then run '
    'tools/dataset_converters/lung.py.',
    cityscapes='Cityscapes is published behind a registration: https://www.cityscapes-dataset.com/downloads/. Prepare '
    'it as for MMSegmentation.',
    shapes='The shapes are drawn on first use: there is nothing to download.')
