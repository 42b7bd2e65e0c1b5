"""Inferencer: segment images with a few annotated examples."""
from pathlib import Path
from typing import Any, Iterator, Optional, Sequence, Union

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor

from mmfss.models.segmentors.base_few_shot_segmentor import BaseFewShotSegmentor
from mmfss.models.segmentors.presence_judge import PresenceJudge, presence_cells, presence_evidence
from mmfss.utils.defaults import DEFAULT_MODEL
from mmfss.utils.device import device_of
from .advice import advise_all
from .image_transform import ImageInput, ImageTransform
from .inference import init_model
from .prediction_files import FailedQueries, JobRecord, PredictionWriter
from .presence import absorb_negatives
from .queries import Queries, list_queries
from .query_explanation import Explain, QueryExplainer, build_explainer, predicted_regions
from .regions import QueryRegion, query_regions, to_network_size
from .support_set import EncodedSupport, Shots, Support, load_negatives, load_support


class FewShotInferencer:
    """Segment images by the example of annotated ones.

    Images are prepared by the test pipeline of the model's config, and logits are resized to the original size of each
    query (bilinear, with the model's ``align_corners``) before the label is chosen. The support set is encoded once and
    kept until another one is given.

    Several threads may share an inferencer if each passes its own ``support`` to :meth:`predict` or :meth:`iterate`,
    which do not change the inferencer.

    .. code-block:: python

        inferencer = FewShotInferencer('configs/dcama/swinb_coco20i_fold0.py', 'checkpoint.pth')
        result = inferencer('query.jpg', support=[('s1.jpg', 's1_mask.png'), ('s2.jpg', 's2_mask.png')])
        inferencer.set_support({'cat': [('a.jpg', 'a.png')], 'dog': [('b.jpg', 'b.png'), ('c.jpg', 'c.png')]})
        for result in inferencer.iterate('folder_of_photographs', out_dir='out'):
            print(result['query'], result['foreground_fraction'])
        result = inferencer('query.jpg', explain='signed_affex')      # which support pixels made the prediction
        result['attributions'][0][0]                                  # of the first class, its first support: (H, W)
        cats = inferencer.encode_support({'cat': [('a.jpg', 'a.png')]})     # a value: keep several, use them anywhere
        result = inferencer.predict('query.jpg', support=cats)

    Args:
        model (BaseFewShotSegmentor | str | Config): A model of :func:`init_model`, or the first argument of it.
            Defaults to a model that needs no training and no checkpoint, with the package of ``mmfss[lite2]``.
        checkpoint (str, optional): Checkpoint of the model, if ``model`` is a config, see :func:`init_model`.
        device (str, optional): Device; by default the model's own, or for a config a GPU if there is one.
        bgr (bool): Whether arrays are BGR, as :func:`mmcv.imread` returns them, rather than RGB. Ignored for files.
        ignore_value (int, optional): Value in masks of pixels that are neither object nor background.
        upright (bool, optional): Unless this is False, files of images and masks are turned as their own EXIF
            orientation says; predictions have that orientation. True also means that masks without an orientation
            were drawn on the upright image, as programs show it. By default, a pair with only one orientation is an
            error where sizes do not tell (turned by 180 degrees, mirrored, square). False: masks were drawn on the
            image as it is stored, and nothing is turned.
        max_pixels (int, optional): Largest number of pixels of a file; by default the environment variable
            ``MMFSS_MAX_PIXELS``, else 89 million.
        invert (bool): Exchange object and background of all masks.
        batch_size (int): Queries of equal size that go through the model together.
        explain (str | dict | Explainer, optional): Explain predictions by this explainer: its name, its config, or
            itself. By default predictions are not explained.
        presence (str | Path, optional): Calibration of presence scores, a file of ``tools/analysis_tools/presence.py``,
            which makes them probabilities.
        presence_threshold (float, optional): A class that is present with a lower probability gets an empty mask.
        region (str | Path | np.ndarray): The part of a query that is explained, see :func:`query_regions`.

    Example:
        >>> import numpy as np
        >>> from mmengine.config import Config
        >>> from mmfss.apis import FewShotInferencer
        >>> from mmfss.models import FewShotSegmentor
        >>> backbone = dict(type='mmpretrain.ResNet', depth=18)
        >>> model = FewShotSegmentor(backbone, head=dict(type='DCAMAHead'))  # untrained
        >>> model.cfg = Config(dict(test_dataloader=dict(dataset=dict(pipeline=[
        ...     dict(type='ForEachImage', transforms=[
        ...         dict(type='LoadEpisodeImage'),
        ...         dict(type='ResizeEpisodeImage', scale=(64, 64))])]))))
        >>> image, mask = np.zeros((40, 60, 3), np.uint8), np.ones((40, 60), np.uint8)
        >>> inferencer = FewShotInferencer(model)
        >>> result = inferencer(image, support={'mug': [(image, mask)]})
        >>> result['class_names'], result['mask'].shape
        (['mug'], (40, 60))
    """

    def __init__(self,
                 model: Union[BaseFewShotSegmentor, str, Path, Config] = DEFAULT_MODEL,
                 checkpoint: Optional[Union[str, Path]] = None,
                 device: Optional[str] = None,
                 bgr: bool = True,
                 ignore_value: Optional[int] = None,
                 upright: Optional[bool] = None,
                 batch_size: int = 4,
                 explain: Optional[Explain] = None,
                 max_pixels: Optional[int] = None,
                 invert: bool = False,
                 presence: Union[str, Path, None] = None,
                 presence_threshold: Optional[float] = None,
                 region: QueryRegion = 'prediction') -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be 1 or more, got {batch_size}.')
        if not isinstance(model, torch.nn.Module):
            model = init_model(model, checkpoint, device)
        elif checkpoint is not None:
            raise ValueError('A checkpoint is given for a model that is built already: give the config instead.')
        elif not hasattr(model, 'cfg'):
            raise ValueError('The model has no config (model.cfg) that defines the test pipeline: use init_model.')
        if not hasattr(model, 'encode_support'):
            raise ValueError(f'The model is a {type(model).__name__}, which uses no support images: a few-shot '
                             'model (FewShotSegmentor) is needed.')
        self.model = model if device is None else model.to(device)
        self.model.eval()
        self.transform = ImageTransform.from_config(model.cfg, upright, max_pixels)
        self.upright = upright
        self.bgr = bgr
        self.ignore_value = ignore_value
        self.invert = invert
        self.batch_size = batch_size
        self.explainer = None if explain is None else build_explainer(explain)
        self.judge = PresenceJudge.load(presence, presence_threshold)
        self.region = region
        self.support: Optional[EncodedSupport] = None

    def __call__(self,
                 query: Queries,
                 support: Union[Support, EncodedSupport, None] = None,
                 out_dir: Optional[Union[str, Path]] = None,
                 return_logits: bool = False,
                 explain: Union[Explain, bool, None] = None) -> Union[dict[str, Any], list[dict[str, Any]]]:
        """Segment one or several queries, and keep the support set for later calls.

        Args:
            query (str | Path | np.ndarray | Sequence): As in :meth:`predict`.
            support (Sequence | Mapping | EncodedSupport, optional): The support set, see :meth:`set_support`; by
                default the last one.
            out_dir (str | Path, optional): As in :meth:`predict`.
            return_logits (bool): Also return the logits.
            explain (str | dict | Explainer | bool, optional): As in :meth:`predict`.

        Returns:
            dict | list[dict]: One result, or a list of results, see :meth:`predict`.
        """
        return self.predict(query, None if support is None else self.set_support(support), out_dir, return_logits,
                            explain)

    def predict(self,
                query: Queries,
                support: Union[Support, EncodedSupport, None] = None,
                out_dir: Optional[Union[str, Path]] = None,
                return_logits: bool = False,
                explain: Union[Explain, bool, None] = None,
                region: Optional[QueryRegion] = None) -> Union[dict[str, Any], list[dict[str, Any]]]:
        """Segment one or several queries without changing the inferencer; threads may call it concurrently.

        Args:
            query (str | Path | np.ndarray | Sequence): An image, several images, or a folder of images.
            support (EncodedSupport | Sequence | Mapping, optional): The support set, encoded by :meth:`encode_support`
                or as taken there; by default the one of :meth:`set_support`.
            out_dir (str | Path, optional): Folder for masks and overlays, see :meth:`iterate`.
            return_logits (bool): Also return the logits.
            explain (str | dict | Explainer | bool, optional): Explain the predictions by this explainer rather than by
                the one given to the constructor; False for not at all.
            region (str | Path | np.ndarray, optional): Explain this part of each query rather than the one given to
                the constructor.

        Returns:
            dict | list[dict]: For one image its result, else a list of results; see :meth:`iterate`, which does not
            hold all results at a time.

        Raises:
            FailedQueries: If some of several queries cannot be read; its ``results`` are those of the others.
        """
        results: list[dict[str, Any]] = []
        try:
            results.extend(self.iterate(query, out_dir, return_logits, explain, support, region))
        except FailedQueries as error:
            error.results = results
            raise
        single = isinstance(query, np.ndarray) or (isinstance(query, (str, Path)) and not Path(query).is_dir())
        return results[0] if single else results

    def set_support(self, support: Union[Support, EncodedSupport], negative: Optional[Shots] = None) -> EncodedSupport:
        """Encode a support set, and use it for all later queries without one.

        Args:
            support (Sequence | Mapping | EncodedSupport): As for :meth:`encode_support`, or its result.
            negative (Sequence, optional): As for :meth:`encode_support`.

        Returns:
            EncodedSupport: The encoded set, now in ``self.support``.

        Raises:
            FileNotFoundError, ValueError: As :meth:`encode_support`.
        """
        # Another thread may set its own before this one returns.
        encoded = support if isinstance(support, EncodedSupport) else self.encode_support(support, negative)
        self.support = encoded
        return encoded

    def encode_support(self, support: Support, negative: Optional[Shots] = None) -> EncodedSupport:
        """Encode a support set for any number of queries, without changing the inferencer.

        Args:
            support (Sequence | Mapping): Pairs of image and mask, K of one class; or such pairs by class name, where
                classes may differ in K. A mask has the size of its image; black or transparent is background,
                everything else the object, see :func:`read_object_mask`. In place of a mask, a file of LabelMe, a COCO
                file or YOLO polygons may be given, see :func:`~mmfss.datasets.annotations.read_annotated_mask`.
            negative (Sequence, optional): Pairs of image and mask of what is not meant. They compete with the classes:
                a pixel stays in a class if its score exceeds the score of the negative references.

        Returns:
            EncodedSupport: The encoded set. It serves any inferencer with the same weights on the same device.

        Raises:
            FileNotFoundError: If a file does not exist.
            ValueError: If a file cannot be read, a mask is empty or of another size than its image, a class has no
                pair, or a negative mask covers its image. The message names the file.
        """
        options = dict(bgr=self.bgr, ignore_value=self.ignore_value, upright=self.upright, invert=self.invert)
        classes = load_support(support, self.transform, **options)
        negatives = load_negatives(negative, self.transform, **options)
        ways = [*classes.values(), negatives] if negatives else [*classes.values()]
        with torch.no_grad():
            images = self._normalize([shot.network_image for shots in ways for shot in shots])
            masks = [torch.stack([shot.network_mask for shot in shots])[None].to(images) for shots in ways]
            features = self.model.extract_feat(images)
            encoding = self.model.encode_features(features, masks)
            cells = presence_cells(self.model, features, masks)
        return EncodedSupport(tuple(classes), encoding, tuple(classes.values()), len(ways) - len(classes), cells)

    def iterate(self,
                query: Queries,
                out_dir: Optional[Union[str, Path]] = None,
                return_logits: bool = False,
                explain: Union[Explain, bool, None] = None,
                support: Union[Support, EncodedSupport, None] = None,
                region: Optional[QueryRegion] = None) -> Iterator[dict[str, Any]]:
        """Segment queries batch by batch; images are read when needed.

        Unreadable queries do not stop the others; one error at the end lists them all.

        Args:
            query (str | Path | np.ndarray | Sequence): As in :meth:`__call__`.
            out_dir (str | Path, optional): Where to write ``masks/<name>.png`` (palette PNG, the labels are the
                indices) and ``overlays/<name>.png``, ``explanations/<name>.png`` of explained predictions, and
                ``results.json``, the results and failures so far; nothing is written by default. Names: see
                :class:`PredictionWriter`.
            return_logits (bool): Also return the logits.
            explain (str | dict | Explainer | bool, optional): As in :meth:`__call__`. Each explanation encodes the
                supports again.
            support (EncodedSupport | Sequence | Mapping, optional): As in :meth:`predict`.
            region (str | Path | np.ndarray, optional): As in :meth:`predict`.

        Yields:
            dict: ``query`` (the path, or the number of an array in the sequence); ``class_names`` (N names); ``mask``
            (H, W) uint8 at the query's original size, labels 0..N; ``foreground_fraction``, share of pixels with a
            label above 0; ``presence``, for each class the score of being in the query at all, a probability with a
            calibration, None if the model shows no feature map; with negative references ``negative_fraction``, the
            share of pixels that they took from the classes; with ``return_logits`` ``logits`` (N+1, H, W) and
            ``network_logits`` (N+1, h, w) float32; with ``out_dir`` ``mask_path`` and ``overlay_path``. An explained
            prediction also has ``explainer``, its name, and ``attributions``, for each class a list of K_n float32
            arrays of the support images' original sizes (the method's values, resized bilinearly), or None for a class
            that is not in the region; ``neutral``, ``support_shares`` and ``contributions``, see
            :class:`QueryExplainer`; with ``out_dir`` ``explanation_path``. ``advice``: see :func:`advise`.

        Raises:
            FileNotFoundError: If a file does not exist, or the folder has no image.
            ValueError: If no support set was given, an image cannot be read, the region is wrong, or the explainer is
                unknown or cannot explain this model.
            FailedQueries: After the other results, if some of several queries cannot be read.
        """
        # Encode the supports
        support = self.support if support is None else support
        if support is None:
            raise ValueError('No support set: give `support`, or call set_support first.')
        if not isinstance(support, EncodedSupport):
            support = self.encode_support(support)
        # Set up outputs
        write = None if out_dir is None else PredictionWriter(out_dir)
        explainer = self._explainer(explain, support)
        record = JobRecord(out_dir)
        try:
            # Segment batch by batch
            for queries, images, prepared in self._batches(list_queries(query), record):
                inputs = self._normalize(prepared)
                for name, image, network_image, logits, presence in zip(
                        queries, images, inputs, *self._predict(inputs, support)):
                    result = self._result(name, self._to_size(logits, image), support, presence, return_logits)
                    logits = self.judge.without_absent(absorb_negatives(logits, support.num_negatives), presence)
                    if return_logits:
                        result['network_logits'] = logits.float().cpu().numpy()
                    if explainer is not None:
                        regions = self.network_regions(region, result['mask'], logits)
                        result.update(explainer(network_image, regions))
                    result.update(advice=advise_all(result, logits, support, self.judge, self.model.threshold))
                    if write is not None:
                        result.update(write(name, image, result['mask'], len(support.class_names)))
                    if write is not None and explainer is not None:
                        panel = explainer.draw(image, result, regions)
                        result.update(explanation_path=write.explanation(panel, result['mask_path']))
                    record.add(result)
                    yield result
        finally:
            record.save()
        record.raise_failures()

    def network_regions(self, region: Optional[QueryRegion], mask: np.ndarray, logits: Tensor) -> Tensor:
        """Select the explained pixels of each class at network size.

        Args:
            region (str | Path | np.ndarray, optional): As in :meth:`predict`.
            mask (np.ndarray): The prediction, labels 0..N, (H, W).
            logits (Tensor): The prediction at network size, (N+1, h, w).

        Returns:
            Tensor: Boolean, (N, h, w).

        Raises:
            ValueError: If the region is wrong, see :func:`query_regions`.
        """
        chosen = query_regions(self.region if region is None else region, mask, len(logits) - 1)
        if chosen is None:
            return predicted_regions(logits)
        return to_network_size(chosen, tuple(logits.shape[-2:])).to(logits.device)

    def network_query(self, query: ImageInput) -> Tensor:
        """Prepare a query as the model sees it, normalized, (3, h, w)."""
        return self._normalize([self.transform.prepare(self.transform.read(query, self.bgr))[0]])[0]

    def _explainer(self, explain: Union[Explain, bool, None], support: EncodedSupport) -> Optional[QueryExplainer]:
        if explain is False:
            return None
        chosen = self.explainer if explain is None else build_explainer(explain)
        return None if chosen is None else QueryExplainer(self.model, *chosen, support)

    @property
    def _device(self) -> torch.device:
        return device_of(self.model)

    def _normalize(self, images: Sequence[Tensor]) -> Tensor:
        return self.model.data_preprocessor.normalize(torch.stack(list(images)).to(self._device))

    def _batches(self, queries: Sequence[ImageInput],
                 record: JobRecord) -> Iterator[tuple[list, list[np.ndarray], list[Tensor]]]:
        """Yield batches of names, original images and prepared images of equal size; failures are recorded."""
        names, images, prepared = [], [], []
        for number, query in enumerate(queries):
            try:
                image = self.transform.read(query, self.bgr)
                network_image, _ = self.transform.prepare(image)
            except (OSError, ValueError) as error:
                record.fail(str(query) if isinstance(query, (str, Path)) else number, error)
                continue
            # A batch has one size
            if prepared and prepared[0].shape != network_image.shape:
                yield names, images, prepared
                names, images, prepared = [], [], []
            names.append(number if isinstance(query, np.ndarray) else str(query))
            images.append(image)
            prepared.append(network_image)
            if len(prepared) == self.batch_size:
                yield names, images, prepared
                names, images, prepared = [], [], []
        if prepared:
            yield names, images, prepared

    @torch.no_grad()
    def _predict(self, inputs: Tensor, support: EncodedSupport) -> tuple[Tensor, Sequence[Optional[Tensor]]]:
        """Compute logits of classes and negatives (B, N+M+1, h, w) at network size, and presence (B, N) or B Nones."""
        features = self.model.extract_feat(inputs)
        logits = self.model.match(features, support.encoding, inputs.shape[-2:])
        if support.presence is None:
            return logits, [None] * len(logits)
        cells = support.presence[:len(support.class_names)]
        return logits, self.judge(presence_evidence(self.model, features, logits, cells))

    def _to_size(self, logits: Tensor, image: np.ndarray) -> Tensor:
        """Resize the logits (N+1, h, w) of a query to the size (H, W) of its image."""
        return F.interpolate(
            logits[None].float(), image.shape[:2], mode='bilinear', align_corners=self.model.align_corners)[0]

    def _result(self, name: Union[str, int], logits: Tensor, support: EncodedSupport, presence: Optional[Tensor],
                return_logits: bool) -> dict[str, Any]:
        num_classes = len(support.class_names)
        before = logits[:num_classes + 1].argmax(0)
        logits = absorb_negatives(logits, support.num_negatives)
        taken = (before > 0) & (logits.argmax(0) == 0)
        logits = self.judge.without_absent(logits, presence)
        mask = logits.argmax(0).to(torch.uint8).cpu().numpy()
        result = dict(
            query=name, class_names=list(support.class_names), mask=mask, foreground_fraction=float((mask > 0).mean()),
            presence=None if presence is None else presence.tolist())
        if support.num_negatives:
            result.update(negative_fraction=float(taken.float().mean()))
        if return_logits:
            result['logits'] = logits.cpu().numpy()
        return result
