"""Decomposed predictions as data of a web page; :mod:`mmfss.visualization.decomposition` describes the records."""
import base64
import io
from typing import Any, Callable, Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

from ..decomposition import scale_jointly, shown_maps
from ..overlay import class_palette
from .pictures import MAP_SIDE, encode_map, outline

GREY = '#8a8a8a'
_SHOWN_TERMS = 6

Record = Mapping[str, Any]


class DecompositionCards:
    """Cards of the classes of one image or episode, as the script draws them.

    Args:
        maps (np.ndarray): The maps that the records number, (n, h, w).
        choices (np.ndarray): The choices that they number, (m, h, w).
        view (Sequence[int]): Width and height of the coordinates of outlines.
        colour (Callable): From a class number to the CSS colour of the class.
    """

    def __init__(self, maps: np.ndarray, choices: np.ndarray, view: Sequence[int],
                 colour: Callable[[int], str]) -> None:
        self.maps, self.choices, self.view, self.colour = maps, choices, view, colour

    def card(self, record: Record, region: np.ndarray, title: str, colour: str, source: Callable[[Record], str],
             together: Sequence[Record] = ()) -> dict[str, Any]:
        """Return the data of one class.

        Args:
            record (dict): The record of the class.
            region (np.ndarray): The explained pixels, bool (H, W).
            title (str): Title of the card.
            colour (str): CSS colour of the class.
            source (Callable): From the record of a prototype to the key of its source on the page.
            together (Sequence[dict]): Records whose maps share one scale with those of this one.
        """
        groups = [self._group(group, source) for group in record['groups']]
        # Bars: the groups, or the prototypes of a model without groups, and then the other terms.
        bars = [node for group in record['groups'] for node in ([group] if group['title'] else group['prototypes'])]
        terms = [dict(name=_name(node), value=node['contribution'], colour=css(node['colour'])) for node in bars]
        terms += [dict(name=term['name'], value=term['contribution'], colour=self._term_colour(term))
                  for term in record['terms'][:_SHOWN_TERMS]]
        rest = record['terms'][_SHOWN_TERMS:]
        if rest:
            terms.append(dict(name=f'{len(rest)} other classes', colour=GREY,
                              value=sum(term['contribution'] for term in rest)))
        return dict(
            class_name=record['class_name'], class_id=record.get('class_id'), colour=colour, title=title,
            total=f'Mean {record["quantity"]} over {record["pixels"]} pixels: {record["total"]:.2f}. It is the sum of:',
            region=outline(region, self.view), top=self._highest([record, *together]), terms=terms, groups=groups,
            strongest=[dict(caption=entry['caption'], src=choice_uri(self.choices[entry['choice']], region, self.view))
                       for entry in record['choices']])

    def encoded_maps(self) -> list[str]:
        """Return all maps as grey pictures, by one scale for all."""
        return encode_maps(self.maps)

    def _group(self, group: Record, source: Callable[[Record], str]) -> dict[str, Any]:
        shown = [entry for entry in group['prototypes'] if 'map' in entry]
        # How the contribution comes about
        formula = ''
        if group['title']:
            weight = '' if group['weight'] is None else f'weight {group["weight"]:.2f} × '
            formula = f'{weight}mean activation {group["activation"]:.3g}' + (
                f' = {group["contribution"]:.3g}' if weight else f', part {group["contribution"]:+.2f}')
        return dict(
            title=group['title'].capitalize() or 'Prototypes', map=group['map'], formula=formula,
            colour=css(group['colour']) if group['title'] else 'transparent',
            more=len(group['prototypes']) - len(shown),
            prototypes=[dict(
                title=_name(entry), value=entry['contribution'], map=entry['map'], source=source(entry),
                scale=f'scale {entry["scale"]}', colour=css(entry['colour']),
                detail=f'weight {entry["weight"]:.2f}, mean similarity {entry["activation"]:.2f}') for entry in shown])

    def _term_colour(self, term: Record) -> str:
        return self.colour(term['class_id']) if 'class_id' in term else GREY

    def _highest(self, records: Sequence[Record]) -> float:
        """Return the largest display value of the maps that some classes show, above 0 and at most 1."""
        shown = shown_maps(records)
        return max(float(scale_jointly(self.maps)[shown].max()) if shown else 1., 1 / 255)


def css(number: int | None) -> str:
    """Return the CSS colour of the n-th group, prototype or class, n from 0; grey for None."""
    return GREY if number is None else 'rgb({},{},{})'.format(*class_palette(number + 1)[-1])


def encode_maps(maps: np.ndarray) -> list[str]:
    """Convert maps (n, h, w) of any range to grey pictures, by one scale for all."""
    return [_encode(heat) for heat in scale_jointly(maps)]


def _name(node: Record) -> str:
    return node.get('title') or f'#{node["index"]}'


def _encode(heat: np.ndarray) -> str:
    # Small ones are enlarged first: a browser's own enlargement of a few pixels shows their edges.
    factor = MAP_SIDE // (2 * max(heat.shape))
    if factor > 1:
        size = heat.shape[1] * factor, heat.shape[0] * factor
        heat = cv2.resize(heat, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    return encode_map(heat)


def choice_uri(choice: np.ndarray, region: np.ndarray, view: Sequence[int]) -> str:
    """Colour the group or prototype chosen at each pixel of a region, as a data URI transparent elsewhere.

    Args:
        choice (np.ndarray): Numbers from 0 on any grid, shape (h, w).
        region (np.ndarray): Bool, of any size.
        view (Sequence[int]): Width and height of the picture.

    Returns:
        str: A data URI; number n has the colour of :func:`css`.
    """
    large, inside = (cv2.resize(np.asarray(x).astype(np.float32), tuple(view), interpolation=cv2.INTER_NEAREST_EXACT)
                     for x in (choice, region))
    numbers = np.where(inside > 0.5, large.astype(int) % 255 + 1, 0).astype(np.uint8)
    picture = Image.fromarray(numbers)
    picture.putpalette(class_palette(255).tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, 'png', transparency=0, optimize=True)
    return f'data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}'
