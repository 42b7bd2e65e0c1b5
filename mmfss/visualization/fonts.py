"""Text on pictures in any script, with the fonts of the machine."""
from functools import cache
from itertools import groupby
from typing import Optional

from PIL import ImageDraw, ImageFont

from mmfss.utils.warn_once import warn_once

_CAPTION_SIZE = 14

Font = ImageFont.FreeTypeFont


@cache
def caption_font() -> Font:
    """Load the font of captions, which comes with Pillow."""
    return ImageFont.load_default(size=_CAPTION_SIZE)


def text_length(text: str) -> float:
    """Compute the width of a line of text in pixels.

    Args:
        text (str): The line, in any script.
    """
    return sum(font.getlength(part) for font, part in _parts(text))


def wrap_text(text: str, width: float) -> list[str]:
    """Break a text into lines at its spaces.

    Args:
        text (str): The text.
        width (float): Width of a line in pixels; a longer word has a line of its own.

    Returns:
        list[str]: The lines.
    """
    lines: list[str] = []
    for word in text.split():
        if lines and text_length(f'{lines[-1]} {word}') <= width:
            lines[-1] += f' {word}'
        else:
            lines.append(word)
    return lines


def draw_text(draw: ImageDraw.ImageDraw, left: float, top: float, text: str, fill: object) -> None:
    """Write a line of text; characters that the font of captions lacks are taken from a font of the machine.

    Args:
        draw (ImageDraw): Where to draw.
        left (float): Left end of the line.
        top (float): Top of the line.
        text (str): The line, in any script.
        fill (str | tuple): Its colour.
    """
    base = top + caption_font().getmetrics()[0]
    for font, part in _parts(text):
        if font is caption_font():
            draw.text((left, top), part, fill=fill, font=font)
        else:
            draw.text((left, base), part, fill=fill, font=font, anchor='ls')  # On the same line as the other parts.
        left += font.getlength(part)


def _parts(text: str) -> list[tuple[Font, str]]:
    """Split the text into parts of one font each."""
    if text.isascii():
        return [(caption_font(), text)]
    lacking = frozenset(_lacking(text))
    if not lacking:
        return [(caption_font(), text)]
    other = _font_for(lacking)
    if other is None:
        return [(caption_font(), text)]
    if _count(other.path, frozenset(text)) == len(set(text)):
        return [(other, text)]  # One font for all of it: words stay alike, and scripts that run to the left in place.
    return [(other if foreign else caption_font(), ''.join(part))
            for foreign, part in groupby(text, key=lambda character: character in lacking)]


def _lacking(text: str) -> set[str]:
    """List the characters of a text that the font of captions lacks."""
    glyphs = _default_glyphs()
    return {character for character in text if ord(character) not in glyphs and not character.isspace()}


@cache
def _default_glyphs() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font
    source = caption_font().path
    if hasattr(source, 'seek'):
        source.seek(0)
    return frozenset(FT2Font(source).get_charmap())


@cache
def _font_for(characters: frozenset[str]) -> Optional[Font]:
    """Find the machine's font with the most of some characters; regular ones without serifs first."""
    best, most = None, 0
    for path in _font_files():
        found = _count(path, characters)
        if found <= most:
            continue
        try:
            best, most = ImageFont.truetype(path, _CAPTION_SIZE), found
        except OSError:  # A font of pictures has fixed sizes.
            continue
        if most == len(characters):
            return best
    missing = ''.join(sorted(characters))
    warn_once('font', f'No font of this machine has all of the characters "{missing}": some are drawn as boxes. '
              'Install one for their script, for example the package fonts-noto-cjk for Chinese, Japanese and Korean. '
              'Later characters are not mentioned.')
    return best


@cache
def _font_files() -> list[str]:
    """List the fonts that matplotlib finds (it keeps a list on disk, which is made once), the plain ones first."""
    from matplotlib import font_manager
    # The last resort draws a box for every character there is.
    entries = sorted((entry for entry in font_manager.fontManager.ttflist if 'last resort' not in entry.name.lower()),
                     key=_plainness)
    return list(dict.fromkeys(entry.fname for entry in entries))


def _plainness(entry: object) -> tuple:
    weight = entry.weight if isinstance(entry.weight, (int, float)) else 400
    return entry.style != 'normal', abs(weight - 400), 'sans' not in entry.name.lower(), entry.name, entry.fname


@cache
def _count(path: str, characters: frozenset[str]) -> int:
    """Count how many of some characters a font has; 0 if it cannot be read."""
    from matplotlib.ft2font import FT2Font
    try:
        font = FT2Font(path)
        return sum(font.get_char_index(ord(character)) > 0 for character in characters)
    except (OSError, RuntimeError, ValueError):
        return 0
