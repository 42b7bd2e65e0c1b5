"""The sixty-four classes of the shapes dataset: an outline and a surface pattern each."""
from typing import NamedTuple

from . import patterns as patterns
from .outlines import OUTLINES


class ShapeClass(NamedTuple):
    """Describe a class: an outline and a surface pattern.

    Attributes:
        name (str): For people.
        outline (str): Key of :data:`mmfss.datasets.shapes.outlines.OUTLINES`.
        pattern (Pattern): Function of :mod:`mmfss.datasets.shapes.patterns`.
        dark (bool): Whether the pattern is printed light on dark and turned by 45 degrees, not dark on light.
    """
    name: str
    outline: str
    pattern: patterns.Pattern
    dark: bool


FAMILIES = (
    (('striped', patterns.stripes), ('pinstriped', patterns.pinstripes)),
    (('zigzag', patterns.zigzag), ('herringbone', patterns.herringbone)),
    (('wooden', patterns.wood), ('wavy', patterns.waves)),
    (('marble', patterns.marble), ('patched', patterns.patches)),
    (('dotted', patterns.dots), ('hooped', patterns.hoops)),
    (('crossed', patterns.pluses), ('saltire', patterns.saltires)),
    (('leopard', patterns.rosettes), ('speckled', patterns.speckles)),
    (('spangled', patterns.triangles), ('harlequin', patterns.lozenges)),
    (('brick', patterns.bricks), ('tiled', patterns.tiles)),
    (('honeycomb', patterns.honeycomb), ('netted', patterns.netting)),
    (('scaly', patterns.scales), ('arched', patterns.arches)),
    (('cracked', patterns.cracks), ('mosaic', patterns.mosaic)),
    (('checked', patterns.checks), ('pixel', patterns.pixels)),
    (('plaid', patterns.plaid), ('gingham', patterns.gingham)),
    (('woven', patterns.weave), ('laddered', patterns.ladders)),
    (('maze', patterns.maze), ('slashed', patterns.slashes)),
)
"""Pairs of related patterns."""
MEMBERS = 4
"""Members of a family: both patterns, dark on light and light on dark."""


def _make_class(family: int, fold: int) -> ShapeClass:
    # Members move on by one fold from family to family, so that every fold tests some of each sort.
    dark, related = divmod((fold - family) % MEMBERS, 2)
    adjective, pattern = FAMILIES[family][related]
    outline = list(OUTLINES)[(family + 5 * fold) % len(OUTLINES)]
    return ShapeClass(f'{"dark " if dark else ""}{adjective} {outline}', outline, pattern, bool(dark))


CLASSES = tuple(_make_class(family, fold) for family in range(len(FAMILIES)) for fold in range(MEMBERS))
"""Class c belongs to family c // 4 and to fold c modulo 4.

As horse and zebra in photographs, the four members of a family are alike but not the same, and each is in another fold;
each outline occurs once in every fold. So no fold is easier than the others by construction.
"""
