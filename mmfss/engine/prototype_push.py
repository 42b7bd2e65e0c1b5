"""The push of ScaleProtoSeg: every prototype becomes the nearest real feature of its class (section 4)."""
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dist import all_gather_object, barrier, get_dist_info, is_main_process
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from torch import Tensor, nn
from torch.utils.data import DataLoader

from mmfss.models import PrototypeHead
from mmfss.models.layers.prototypes import downsample_labels
from mmfss.registry import DATASETS
from mmfss.utils.checkpoint import CheckpointError, load_from_local
from mmfss.utils.files import atomic_path, dump_json
from .prototype_provenance import describe_sources
from .prototype_search import NearestCells

PUSHED, PROVENANCE = 'pushed.pth', 'prototypes.json'
PROGRESS_STEP = 500  # images of a process between two messages


@dataclass
class PushResult:
    """What becomes of P prototypes.

    Attributes:
        vectors (Tensor): The nearest features, shape (P, D); where there is none, the prototype as it was.
        source (Tensor): Image index, row, column and scale, -1 where there is none, shape (P, 4), int64.
        size (Tensor): Height and width of the source's grid, shape (P, 2), int64.
        distance (Tensor): Squared distance to the source, shape (P,).
        kept (Tensor): Prototypes that stay, ascending, int64.
        absent (list[int]): Classes without a cell.
        duplicates (list[tuple[int, int]]): Pairs of a prototype that goes and the equal one that stays.
    """
    vectors: Tensor
    source: Tensor
    size: Tensor
    distance: Tensor
    kept: Tensor
    absent: list[int]
    duplicates: list[tuple[int, int]]


class PrototypePush:
    """Find the sources, replace the prototypes, write down where each comes from.

    One pass over the data: N forwards, then one for each source image that is drawn. Images are dealt to the processes
    in turn; any number of them gives the same result, as long as images are read one at a time (``batch_size=1``;
    others may round differently). The state of the search is saved now and then: a push that was killed continues.

    Args:
        dataset (dict | Dataset): Training images with labels, in a fixed order, without augmentation.
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
                 dataset: Union[dict, Any],
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
        """Dataset: Built when first asked for."""
        if isinstance(self._dataset, dict):
            self._dataset = DATASETS.build(self._dataset)
        return self._dataset

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
        model, out_dir = model.module if is_model_wrapper(model) else model, Path(out_dir)
        head = prototype_head(model)
        training = model.training
        model.eval()
        search = self._search(model, head, out_dir)
        result = resolve(search, head, self.absent, self.duplicates)
        self._report(head, result)
        record = describe_sources(model, head, self.dataset, result, out_dir, self.pictures)
        apply_push(head, result)
        model.train(training)
        if is_main_process():
            dump_json(record, out_dir / PROVENANCE)
            with atomic_path(out_dir / PUSHED) as temporary:
                weights = {name: value.cpu() for name, value in model.state_dict().items()}
                torch.save(dict(meta=dict(meta or {}), state_dict=weights), temporary)
        barrier()
        self._state_path(out_dir).unlink(missing_ok=True)
        return record

    def _search(self, model: nn.Module, head: PrototypeHead, out_dir: Path) -> NearestCells:
        """The search over all images, by all processes."""
        search = NearestCells(head)
        fingerprint = self._fingerprint(model)
        done = self._restore(search, out_dir, fingerprint)
        rank, world_size = get_dist_info()
        images = range(rank, len(self.dataset), world_size)
        saved = shown = done
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
        """Continue a search that was cut off; returns the number of images it has seen."""
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
        """A name for what is pushed over what: the model's weights and the data set's size."""
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


def prototype_head(model: nn.Module) -> PrototypeHead:
    """Find the prototype head of a segmentor.

    Raises:
        ValueError: If it has another head.
    """
    head = getattr(model, 'decode_head', None)
    if not isinstance(head, PrototypeHead):
        raise ValueError(f'The model has no prototypes: its decode_head is a {type(head).__name__}, not a '
                         'ScaleProtoHead or ScaleProtoGroupHead.')
    return head


class _Items:
    """Some items of a data set, each with its index."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, dict]:
        return self.indices[place], self.dataset[self.indices[place]]


@torch.no_grad()
def embed_images(model: nn.Module, dataset: Any, indices: Sequence[int], batch_size: int = 1,
                 num_workers: int = 0) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Features and labels of images, as prototypes see them.

    Args:
        model (nn.Module): A segmentor with a prototype head, in eval mode.
        dataset (Dataset): Items as ``PackSegInputs`` makes them.
        indices (Sequence[int]): Which ones.
        batch_size (int): Images of a forward.
        num_workers (int): Processes that load images.

    Yields:
        tuple[list[int], Tensor, Tensor]: Indices, features of each scale (B, S, D, h, w), labels at the cells
        (B, h, w), int64.
    """
    head = prototype_head(model)
    loader = DataLoader(_Items(dataset, indices), batch_size, num_workers=num_workers, collate_fn=list)
    for batch in loader:
        data = dict(
            inputs=[item['inputs'] for _, item in batch], data_samples=[item['data_samples'] for _, item in batch])
        data = model.data_preprocessor(data, False)
        features = head.scale_features(head.features(model.extract_feat(data['inputs'])))
        labels = torch.cat([
            downsample_labels(sample.gt_sem_seg.data.long(), features.shape[-2:]) for sample in data['data_samples']
        ])
        labels = labels.masked_fill(labels == head.ignore_index, -1).to(features.device)
        yield [index for index, _ in batch], features, labels


def resolve(search: NearestCells, head: PrototypeHead, absent: str = 'drop', duplicates: str = 'class') -> PushResult:
    """Decide what becomes of each prototype.

    Args:
        search (NearestCells): A finished search.
        head (PrototypeHead): Its prototypes, as they were.
        absent (str): See :class:`PrototypePush`.
        duplicates (str): See :class:`PrototypePush`.

    Returns:
        PushResult: The decisions.

    Raises:
        ValueError: If no prototype found a cell.
    """
    found = search.image >= 0
    if not bool(found.any()):
        raise ValueError('The data of the push has no cell of any class of the model: are its labels those of the '
                         'model, 0 to num_classes - 1 with 255 for void?')
    rows, cols = search.cell // search.size[:, 1].clamp(min=1), search.cell % search.size[:, 1].clamp(min=1)
    source = torch.stack((search.image, rows, cols, head.proto_scale), 1)
    vectors, distance = search.feature.clone(), search.distance.square()
    lost = ~found
    if absent == 'collapse':
        vectors[lost] = search.origin[head.proto_scale[lost]]
        source[lost, :3] = 0
        distance[lost] = (vectors[lost] - head.prototypes.detach()[lost]).square().sum(1)
    else:
        vectors[lost], source[lost] = head.prototypes.detach()[lost], -1
    eligible = torch.ones_like(found) if absent == 'collapse' else found
    first = _first_equal(vectors, eligible, head if duplicates == 'class' else None)
    repeated = eligible & (first != torch.arange(len(first), device=first.device))
    classes = set(head.proto_class.unique().tolist()) - set(head.proto_class[found].unique().tolist())
    pairs = [(int(p), int(first[p])) for p in repeated.nonzero().flatten()]
    kept = (eligible & ~repeated).nonzero().flatten()
    return PushResult(vectors, source, search.size, distance, kept, sorted(classes), pairs)


def _first_equal(vectors: Tensor, eligible: Tensor, head: Optional[PrototypeHead]) -> Tensor:
    """Smallest index of an equal vector (of the same class and scale, if a head is given), shape (P,)."""
    keys = [vectors.cpu().numpy().view(np.int32).astype(np.int64), (~eligible).cpu().numpy()[:, None]]
    if head is not None:
        keys += [head.proto_class.cpu().numpy()[:, None], head.proto_scale.cpu().numpy()[:, None]]
    _, first, inverse = np.unique(np.concatenate(keys, 1), axis=0, return_index=True, return_inverse=True)
    return torch.from_numpy(first[inverse.reshape(-1)]).to(vectors.device)


def apply_push(head: PrototypeHead, result: PushResult) -> None:
    """Replace the prototypes and remove those that go.

    Args:
        head (PrototypeHead): Changed in place.
        result (PushResult): See :func:`resolve`.
    """
    head.prototypes.data.copy_(result.vectors)
    head.proto_source.copy_(result.source)
    head.keep_prototypes(result.kept)
