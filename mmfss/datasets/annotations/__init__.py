"""Masks from the files that annotation programs write: LabelMe, COCO (CVAT, Label Studio, ...), YOLO polygons."""
from .objects import ANNOTATION_SUFFIXES, PictureObjects, UnknownClassError, is_annotation_file
from .reading import read_annotated_mask, read_picture_objects

__all__ = [
    'ANNOTATION_SUFFIXES', 'PictureObjects', 'UnknownClassError', 'is_annotation_file', 'read_annotated_mask',
    'read_picture_objects'
]
