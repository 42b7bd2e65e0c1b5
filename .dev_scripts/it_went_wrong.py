"""Draw the pictures of docs/en/it_went_wrong.md, and print its table: python .dev_scripts/it_went_wrong.py

The default model, which was not trained, segments scenes of the shapes dataset, whose truth is known. Each remedy is
measured on the same 20 draws of a query, a class and its examples; the picture shows the draw in which it helped most.
"""
from pathlib import Path
from typing import Any, Callable, NamedTuple

import numpy as np
from PIL import Image

from mmfss.apis import FewShotInferencer, init_model
from mmfss.datasets.shapes.classes import CLASSES
from mmfss.datasets.shapes.scene import Scene, render
from mmfss.utils.defaults import DEFAULT_MODEL
from mmfss.visualization import caption_image, overlay_mask, tile_images

IMAGES = Path(__file__).parents[1] / 'docs/en/images'
DRAWS, SCENES, SIDE = 20, 240, 256
LARGER = {'test_dataloader.dataset.pipeline.0.transforms.2.scale': [833, 833]}


class Draw(NamedTuple):
    """A query, one of its classes, the other one, and scenes to take examples from."""
    query: Scene
    class_id: int
    other: int
    pool: list[Scene]

    def example(self, class_id: int, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return the picture and mask of a class in the pool."""
        found = [scene for scene in self.pool if class_id in scene.class_ids]
        return found[number].image, mask_of(found[number], class_id)


class Outcome(NamedTuple):
    """What a remedy changed."""
    before: dict[str, Any]
    after: dict[str, Any]
    truths: tuple[np.ndarray, np.ndarray]
    pictures: tuple[np.ndarray, np.ndarray]

    def scores(self) -> tuple[float, float]:
        """Return the IoU before and after, in per cent."""
        results = zip((self.before, self.after), self.truths)
        return tuple(iou(result['mask'] == 1, truth) for result, truth in results)  # type: ignore[return-value]


def mask_of(scene: Scene, class_id: int) -> np.ndarray:
    """Return the visible part of a class, (S, S) uint8."""
    return scene.masks[scene.class_ids.index(class_id)].astype(np.uint8)


def iou(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Compute the intersection over union in per cent."""
    union = (predicted | (truth > 0)).sum()
    return 100 * float((predicted & (truth > 0)).sum() / union) if union else 100.0


def draw_all() -> list[Draw]:
    """Draw queries of which two classes are in three other scenes each."""
    rng = np.random.RandomState(0)
    scenes = [render(rng, SIDE) for _ in range(SCENES)]
    draws = []
    for index, query in enumerate(scenes):
        pool = scenes[:index] + scenes[index + 1:]
        known = [class_id for class_id in query.class_ids if sum(class_id in scene.class_ids for scene in pool) >= 3]
        if len(known) >= 2 and len(draws) < DRAWS:
            draws.append(Draw(query, known[0], known[1], pool))
    return draws


def compare(before: FewShotInferencer, after: FewShotInferencer, draw: Draw, more: dict[str, list]) -> Outcome:
    """Segment with one example, then with another model or more examples."""
    name = CLASSES[draw.class_id].name
    truth, picture = mask_of(draw.query, draw.class_id), draw.query.image
    first = before.predict(picture, {name: [draw.example(draw.class_id)]})
    second = after.predict(picture, more or {name: [draw.example(draw.class_id)]})
    return Outcome(first, second, (truth, truth), (picture, picture))


def remedies(model: FewShotInferencer, larger: FewShotInferencer) -> dict[str, Callable[[Draw], Outcome]]:
    """Return what can be tried, by name."""

    def second_class(draw: Draw) -> Outcome:
        names = [CLASSES[class_id].name for class_id in (draw.class_id, draw.other)]
        return compare(model, model, draw, {name: [draw.example(class_id)]
                                            for name, class_id in zip(names, (draw.class_id, draw.other))})

    def more_support(draw: Draw) -> Outcome:
        examples = [draw.example(draw.class_id, number) for number in range(3)]
        return compare(model, model, draw, {CLASSES[draw.class_id].name: examples})

    def larger_input(draw: Draw) -> Outcome:
        return compare(model, larger, draw, {})

    def cut_out(draw: Draw) -> Outcome:
        outcome = compare(model, model, draw, {})
        rows, columns = np.nonzero(outcome.truths[0])
        center, half = np.array([rows.mean(), columns.mean()]), SIDE // 4
        top, left = np.clip(center - half, 0, SIDE - 2 * half).astype(int)
        window = np.s_[top:top + 2 * half, left:left + 2 * half]
        cut = draw.query.image[window]
        after = model.predict(cut, {CLASSES[draw.class_id].name: [draw.example(draw.class_id)]})
        return Outcome(outcome.before, after, (outcome.truths[0], outcome.truths[0][window]), (draw.query.image, cut))

    def threshold(draw: Draw) -> Outcome:
        before = compare(model, model, draw, {})
        model.model.threshold = 0.6
        after = compare(model, model, draw, {})
        model.model.threshold = 0.5
        return before._replace(after=after.after)

    return dict(second_class=second_class, more_support=more_support, larger_input=larger_input, cut_out=cut_out,
                threshold=threshold)


def picture_of(draw: Draw, outcome: Outcome) -> np.ndarray:
    """Draw the first example, the query with its truth, and both predictions."""
    image, mask = draw.example(draw.class_id)
    tiles = [('example', image, mask), ('truth', outcome.pictures[0], outcome.truths[0])]
    for word, picture, result, score in zip(('before', 'after'), outcome.pictures, (outcome.before, outcome.after),
                                            outcome.scores()):
        tiles.append((f'{word}: IoU {score:.0f}', picture, result['mask']))
    fitted = [caption_image(np.asarray(Image.fromarray(overlay_mask(picture, mask)).resize((176, 176))), caption)
              for caption, picture, mask in tiles]
    return tile_images([fitted])


def presence(model: FewShotInferencer, draws: list[Draw]) -> None:
    """Print how presence scores of queries with and without the class differ."""
    right, wrong = [], []
    for draw in draws:
        support = model.encode_support({'class': [draw.example(draw.class_id)]})
        absent = next(scene for scene in draw.pool if draw.class_id not in scene.class_ids)
        for scene, scores in ((draw.query, right), (absent, wrong)):
            scores.extend(model.predict(scene.image, support)['presence'])
    higher = np.mean(np.array(right)[:, None] > np.array(wrong))
    print(f'\npresence score: {np.mean(right):.2f} with the class, {np.mean(wrong):.2f} without; higher with it in '
          f'{100 * higher:.0f} % of pairs')


def main() -> None:
    """Draw and print everything."""
    model = FewShotInferencer(init_model(DEFAULT_MODEL, 'none', 'cpu'), bgr=False)
    larger = FewShotInferencer(init_model(DEFAULT_MODEL, 'none', 'cpu', LARGER), bgr=False)
    draws = draw_all()
    print(f'{len(draws)} draws\n\n| remedy | mean IoU before | after | better in | advice given before |\n'
          '|---|---:|---:|---:|---|')
    for name, remedy in remedies(model, larger).items():
        outcomes = [remedy(draw) for draw in draws]
        before, after = np.array([outcome.scores() for outcome in outcomes]).T
        advice = [item['rule'] for outcome in outcomes for item in outcome.before['advice']]
        counts = ', '.join(f'{rule} {advice.count(rule)}' for rule in sorted(set(advice))) or 'none'
        print(f'| {name} | {before.mean():.1f} | {after.mean():.1f} | {(after > before).sum()} of {len(draws)} | '
              f'{counts} |', flush=True)
        best = int((after - before).argmax())
        Image.fromarray(picture_of(draws[best], outcomes[best])).save(IMAGES / f'wrong_{name}.jpg', quality=85)
    presence(model, draws)


if __name__ == '__main__':
    main()
