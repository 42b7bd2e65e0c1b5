"""Push of ScaleProtoSeg: every prototype becomes the nearest training feature of its class (section 4)."""
import hashlib
from pathlib import Path
from typing import Any, Mapping, Optional, Sequence, Union

import torch
from mmengine.dist import all_gather_object, barrier, get_dist_info, is_main_process
from mmengine.logging import print_log
from torch import nn

from mmfss.datasets.unaugmented import unaugmented
from mmfss.models import PrototypeHead
from mmfss.registry import DATASETS
from mmfss.utils.checkpoint import CheckpointError, load_from_local
from mmfss.utils.config_options import ConfigError
from mmfss.utils.files import atomic_path, dump_json
from mmfss.utils.unwrap import unwrap
from .embedding import embed_images, prototype_head
from .push_result import PushResult, apply_push, resolve
from .search import NearestCells
from .source_records import describe_sources
from .sources import PROVENANCE, PUSHED

PROGRESS_STEP = 500  # images of a process between two messages


class PrototypePush:
    """Find the sources, replace the prototypes, and record the source of each.

    One pass over the data: N forwards, then one for each source image that is drawn. Images are dealt to the processes
    in turn; any number of them gives the same result, as long as images are read one at a time (``batch_size=1``;
    others may round differently). The state of the search is saved now and then: a push that was killed continues.

    Args:
        dataset (dict | Dataset, optional): Training images with labels, in a fixed order, without augmentation. None:
            those of a config, see :meth:`use_training_data`.
        batch_size (int): Images of a forward; more than 1 needs images of one size.
        num_workers (int): Processes that load images.
        absent (str): Prototypes of a class without a cell: ``'drop'`` them, or ``'collapse'``: all of a scale become
            the first cell of the first image, as in the published code.
        duplicates (str): Remove equal prototypes within a ``'class'`` and scale, or among ``'all'``, as published.
        pictures (bool): Draw the sources.
        save_interval (int): Images of a process between two savings of the state.

    Raises:
        ValueError: If an argument is none of these.
    """

    def __init__(self,
                 dataset: Union[dict, Any] = None,
                 batch_size: int = 1,
                 num_workers: int = 0,
                 absent: str = 'drop',
                 duplicates: str = 'class',
                 pictures: bool = True,
                 save_interval: int = 200) -> None:
        if absent not in ('drop', 'collapse'):
            raise ValueError(f"absent must be 'drop' or 'collapse', got {absent!r}.")
        if duplicates not in ('class', 'all'):
            raise ValueError(f"duplicates must be 'class' or 'all', got {duplicates!r}.")
        if batch_size < 1 or save_interval < 1:
            raise ValueError(f'batch_size and save_interval must be at least 1, got {batch_size} and {save_interval}.')
        self._dataset = dataset
        self.batch_size, self.num_workers, self.save_interval = batch_size, num_workers, save_interval
        self.absent, self.duplicates, self.pictures = absent, duplicates, pictures

    @property
    def dataset(self) -> Any:
        """Dataset: Built on first use.

        Raises:
            ConfigError: If there is none.
        """
        if self._dataset is None:
            raise ConfigError('The push has no data: name them (dataset), or take those of a config '
                              '(use_training_data).')
        if isinstance(self._dataset, dict):
            self._dataset = DATASETS.build(self._dataset)
        return self._dataset

    def use_training_data(self, cfg: Mapping[str, Any]) -> None:
        """Push over the training images of a config, prepared as for validation, unless a dataset was given.

        Args:
            cfg (Mapping): See :func:`mmfss.datasets.unaugmented.unaugmented`.
        """
        if self._dataset is None:
            self._dataset = unaugmented(cfg)

    def check(self, num_classes: int, classes: Optional[Sequence[str]] = None) -> None:
        """Build the data and compare them with the model and its training data; reads one item.

        Args:
            num_classes (int): Classes of the model.
            classes (Sequence[str], optional): Class names of the training data.

        Raises:
            ConfigError: If the data show other classes, or are no labelled pictures.
        """
        own = (self.dataset.metainfo or {}).get('classes')
        if own is not None and classes is not None and list(own) != list(classes):
            raise ConfigError(f'The push would show other classes than the training data: {_differing(own, classes)}. '
                              "Leave out PrototypePushHook's dataset to push over the training data.")
        if own is not None and len(own) != num_classes:
            raise ConfigError(f'The data of the push have {len(own)} classes, model.decode_head.num_classes is '
                              f'{num_classes}.')
        item = self.dataset[0] if len(self.dataset) else {}
        labels = getattr(item.get('data_samples'), 'gt_sem_seg', None)
        if labels is None:
            raise ConfigError('The data of the push have no image with labels: its pipeline must load annotations and '
                              'end in PackSegInputs.')

    def run(self, model: nn.Module, out_dir: Union[str, Path], meta: Optional[dict] = None) -> dict[str, Any]:
        """Push the prototypes of a model, in place.

        Args:
            model (nn.Module): A segmentor whose ``decode_head`` is a :class:`PrototypeHead`, on its device.
            out_dir (str | Path): Folder for ``pushed.pth`` (the model), ``prototypes.json`` (sources) and
                ``prototypes/`` (pictures).
            meta (dict, optional): For the checkpoint.

        Returns:
            dict: What ``prototypes.json`` holds.

        Raises:
            ValueError: If the model has no prototypes, or the data no cell of any class.
        """
        model, out_dir = unwrap(model), Path(out_dir)
        head = prototype_head(model)
        training = model.training
        model.eval()
        # Search and replace
        search = self._search(model, head, out_dir)
        result = resolve(search, head, self.absent, self.duplicates)
        self._report(head, result)
        record = describe_sources(model, head, self.dataset, result, out_dir, self.pictures)
        apply_push(head, result)
        model.train(training)
        # Write
        if is_main_process():
            dump_json(record, out_dir / PROVENANCE)
            with atomic_path(out_dir / PUSHED) as temporary:
                weights = {name: value.cpu() for name, value in model.state_dict().items()}
                torch.save(dict(meta=dict(meta or {}), state_dict=weights), temporary)
        barrier()
        self._state_path(out_dir).unlink(missing_ok=True)
        return record

    def _search(self, model: nn.Module, head: PrototypeHead, out_dir: Path) -> NearestCells:
        """Search all images, in all processes."""
        search = NearestCells(head)
        fingerprint = self._fingerprint(model)
        # Resume
        done = self._restore(search, out_dir, fingerprint)
        rank, world_size = get_dist_info()
        images = range(rank, len(self.dataset), world_size)
        saved = shown = done
        # Search this process's images
        for indices, features, labels in embed_images(model, self.dataset, images[done:], self.batch_size,
                                                      self.num_workers):
            search.update(features, labels, indices)
            done += len(indices)
            if done - shown >= PROGRESS_STEP or done == len(images):
                print_log(f'Push: {done * world_size} of about {len(self.dataset)} images searched.', 'current')
                shown = done
            if done - saved >= self.save_interval:
                self._save(search, out_dir, fingerprint, done)
                saved = done
        self._save(search, out_dir, fingerprint, done)
        # Merge the processes
        for state in all_gather_object(search.state_dict()):
            search.merge(state)
        return search

    def _state_path(self, out_dir: Path) -> Path:
        rank, world_size = get_dist_info()
        return out_dir / f'.push_{rank}_of_{world_size}.pth'

    def _save(self, search: NearestCells, out_dir: Path, fingerprint: str, done: int) -> None:
        with atomic_path(self._state_path(out_dir)) as temporary:
            torch.save(dict(search=search.state_dict(), fingerprint=fingerprint, done=done), temporary)

    def _restore(self, search: NearestCells, out_dir: Path, fingerprint: str) -> int:
        """Continue an interrupted search; return the number of images it has seen."""
        path = self._state_path(out_dir)
        if not path.is_file():
            return 0
        try:
            state = load_from_local(path, map_location='cpu')
        except CheckpointError:
            return 0
        if state.get('fingerprint') != fingerprint:
            print_log(f'{path} is of a push of another model or other data: starting anew.', 'current')
            return 0
        search.load_state_dict(state['search'])
        return int(state['done'])

    def _fingerprint(self, model: nn.Module) -> str:
        """Compute a key of the model's weights and the dataset's size."""
        digest = hashlib.blake2b(str((len(self.dataset), get_dist_info()[1])).encode())
        for name, value in model.state_dict().items():
            digest.update(name.encode() + value.detach().cpu().numpy().tobytes())
        return digest.hexdigest()

    def _report(self, head: PrototypeHead, result: PushResult) -> None:
        if result.absent:
            names = (self.dataset.metainfo or {}).get('classes') or range(head.num_classes)
            what = 'are removed' if self.absent == 'drop' else 'become the first cell of the first image'
            print_log(f'No cell of the classes {[names[i] for i in result.absent]} in the images of the push: their '
                      f'prototypes {what}.', 'current')
        print_log(f'Push: {head.num_prototypes} prototypes, {len(result.kept)} kept, {len(result.duplicates)} '
                  f'duplicates, {len(result.absent)} classes without a cell.', 'current')


def _differing(own: Sequence[str], others: Sequence[str]) -> str:
    """Show where two lists of class names differ first."""
    place = next((i for i, pair in enumerate(zip(own, others)) if pair[0] != pair[1]), min(len(own), len(others)))
    first, second = (f'"{names[place]}"' if place < len(names) else 'nothing' for names in (own, others))
    return f'{len(own)} and {len(others)}, class {place} is {first}, not {second}'
