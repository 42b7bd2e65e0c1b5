"""The thirty-two classes of the shapes data set: an outline and a surface pattern each."""
from typing import NamedTuple

from . import shapes_patterns as patterns


class ShapeClass(NamedTuple):
    """What objects of a class have in common.

    Attributes:
        name (str): For people.
        outline (str): Key of :data:`mmfss.datasets.shapes_outlines.OUTLINES`.
        pattern (Pattern): Function of :mod:`mmfss.datasets.shapes_patterns`.
    """
    name: str
    outline: str
    pattern: patterns.Pattern


# Class c belongs to fold c modulo 4. Every run of four holds patterns of one kind, so that each fold has bands, motifs,
# lattices and blocks, and none is easier by construction. Like zebra and horse, each pattern of the first half has a
# relative in the second, always in another fold; each outline serves two classes of different folds.
CLASSES = (
    ShapeClass('striped disc', 'disc', patterns.stripes),
    ShapeClass('zigzag arrow', 'arrow', patterns.zigzag),
    ShapeClass('wooden star', 'star', patterns.wood),
    ShapeClass('marble heart', 'heart', patterns.marble),
    ShapeClass('dotted square', 'square', patterns.dots),
    ShapeClass('crossed hexagon', 'hexagon', patterns.pluses),
    ShapeClass('leopard crescent', 'crescent', patterns.rosettes),
    ShapeClass('spangled drop', 'drop', patterns.triangles),
    ShapeClass('brick cross', 'cross', patterns.bricks),
    ShapeClass('honeycomb half-moon', 'half-moon', patterns.honeycomb),
    ShapeClass('scaly triangle', 'triangle', patterns.scales),
    ShapeClass('cracked ring', 'ring', patterns.cracks),
    ShapeClass('checked tee', 'tee', patterns.checks),
    ShapeClass('plaid flower', 'flower', patterns.plaid),
    ShapeClass('woven bracket', 'bracket', patterns.weave),
    ShapeClass('maze gear', 'gear', patterns.maze),
    ShapeClass('slashed star', 'star', patterns.slashes),
    ShapeClass('pinstriped ring', 'ring', patterns.pinstripes),
    ShapeClass('herringbone drop', 'drop', patterns.herringbone),
    ShapeClass('wavy square', 'square', patterns.waves),
    ShapeClass('patched arrow', 'arrow', patterns.patches),
    ShapeClass('hooped tee', 'tee', patterns.hoops),
    ShapeClass('saltire disc', 'disc', patterns.saltires),
    ShapeClass('speckled cross', 'cross', patterns.speckles),
    ShapeClass('harlequin crescent', 'crescent', patterns.lozenges),
    ShapeClass('tiled gear', 'gear', patterns.tiles),
    ShapeClass('netted heart', 'heart', patterns.netting),
    ShapeClass('arched bracket', 'bracket', patterns.arches),
    ShapeClass('mosaic half-moon', 'half-moon', patterns.mosaic),
    ShapeClass('pixel triangle', 'triangle', patterns.pixels),
    ShapeClass('gingham hexagon', 'hexagon', patterns.gingham),
    ShapeClass('laddered flower', 'flower', patterns.ladders),
)
