"""Letters that the font of a sheet lacks: of another installed font, or told once by name.

Which texts a sheet has, and where they stand, is not known here.
"""

from collections.abc import Iterable

from matplotlib import font_manager
from matplotlib.text import Text

from ._absent import tell

_LAST = "Last Resort"  # has a sign for a script in place of its letters


def lettered(texts: Iterable[Text]) -> None:
    """Give texts the fonts that have their letters; warn of those that no font has."""
    absent: set[str] = set()
    for text in texts:
        if lacking := _lacking(text):
            families, left = _fonts_of(lacking)
            text.set_fontfamily([*text.get_fontfamily(), *families])
            absent |= left
    tell(absent)


def _lacking(text: Text) -> set[str]:
    own = {x for x in text.get_text() if not x.isascii()}
    return _without(own, font_manager.findfont(text.get_fontproperties())) if own else own


def _fonts_of(letters: set[str]) -> tuple[list[str], set[str]]:
    families: list[str] = []
    for entry in sorted(font_manager.fontManager.ttflist, key=lambda x: (x.weight != 400, x.name)):
        if letters and not entry.name.startswith(_LAST):
            left = _without(letters, entry.fname)
            families += [entry.name] * (left != letters)
            letters = left
    return families, letters


def _without(letters: set[str], path: str) -> set[str]:
    font = font_manager.get_font(path)
    return {x for x in letters if not font.get_char_index(ord(x))}
