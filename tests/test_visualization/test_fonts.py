"""Text in scripts that the font of captions lacks."""
import warnings
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image, ImageDraw

from mmfss.utils import warn_once
from mmfss.visualization import fonts
from mmfss.visualization.overlay import badge, caption_image, legend_strip

CAT = '\u732b'


@pytest.fixture(autouse=True)
def _nothing_cached(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(warn_once, '_GIVEN', set())
    monkeypatch.setattr(font_manager.fontManager, 'ttflist', [])
    caches = (fonts._font_for, fonts._font_files, fonts._count)
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def make_font(path: Path, characters: str) -> Path:
    """A font whose characters are all a filled square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    square = pen.glyph()
    names = ['.notdef', 'square']
    builder = FontBuilder(1000)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(character): 'square' for character in characters})
    builder.setupGlyf({'.notdef': TTGlyphPen(None).glyph(), 'square': square})
    builder.setupHorizontalMetrics({name: (1000, 0) for name in names})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable(dict(familyName=path.stem, styleName='Regular'))
    builder.setupOS2(sTypoAscender=900)
    builder.setupPost()
    builder.save(path)
    font_manager.fontManager.addfont(str(path))
    return path


def drawn(text: str) -> np.ndarray:
    picture = Image.new('L', (300, 30), 255)
    fonts.draw_text(ImageDraw.Draw(picture), 4, 2, text, 0)
    return np.asarray(picture)


def test_a_font_of_the_machine_is_found(tmp_path: Path) -> None:
    make_font(tmp_path / 'poor.ttf', 'xyz')
    path = make_font(tmp_path / 'rich.ttf', CAT)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        (before, _), (font, part) = fonts._parts(f'support: {CAT}')
        picture = drawn(f'support: {CAT}')
    assert before is fonts.caption_font() and (font.path, part) == (str(path), CAT)
    assert fonts.text_length(f'a{CAT}') == fonts.text_length('a') + 14
    right = picture[:, 4 + int(fonts.text_length('support: ')):]
    assert (right < 128).sum() >= 100  # the square of 11 x 11 pixels


def test_one_font_for_the_whole_text_where_it_has_all(tmp_path: Path) -> None:
    make_font(tmp_path / 'all.ttf', f'cat {CAT}')
    (font, part), = fonts._parts(f'cat {CAT}')
    assert part == f'cat {CAT}' and font is not fonts.caption_font()


def test_no_font_is_one_warning(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=f'No font of this machine has all of the characters "{CAT}"') as given:
        drawn(f'support: {CAT}')
        drawn(f'support: \u72ac {CAT}')
    assert len(given) == 1


def test_unreadable_fonts_are_passed_over(tmp_path: Path) -> None:
    path = make_font(tmp_path / 'a.ttf', CAT)
    make_font(tmp_path / 'b.ttf', CAT)
    path.write_bytes(b'no font')
    assert fonts._parts(CAT)[0][0].path == str(tmp_path / 'b.ttf')


def test_every_caption_uses_it(tmp_path: Path) -> None:
    make_font(tmp_path / 'a.ttf', CAT)
    blank = np.full((30, 60, 3), 255, np.uint8)
    for picture in (caption_image(blank, CAT), badge(blank, CAT, (255, 255, 255)), legend_strip([CAT])):
        assert (picture < 128).all(2).sum() >= 100


def test_latin_text_is_drawn_as_before() -> None:
    picture = Image.new('L', (300, 30), 255)
    ImageDraw.Draw(picture).text((4, 2), 'support 1: dog', fill=0, font=fonts.caption_font())
    assert np.array_equal(drawn('support 1: dog'), np.asarray(picture))
