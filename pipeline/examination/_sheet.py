"""A contact sheet: one line of small pictures a group in one PNG. The page cuts them out and writes their labels, since
a browser has letters of every script."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from pipeline.examination._groups import MEMBERS, Group

SIDE = 112  # pixels of a picture


def write(groups: Sequence[Group], picture: Callable[[str], Image.Image | None], out: Path) -> None:
    """The picture in row `group` and column `member`, each SIDE pixels wide and high.

    picture: the image of an id, or None where there is none any more.
    """
    sheet = Image.new("RGB", (MEMBERS * SIDE, len(groups) * SIDE), "white")
    for number, group in enumerate(groups):
        for place, row in enumerate(group.rows[:MEMBERS]):
            _paste(sheet, picture(row.id), place * SIDE, number * SIDE)
    sheet.save(out, optimize=True)


def _paste(sheet: Image.Image, picture: Image.Image | None, left: int, top: int) -> None:
    if picture is None:
        sheet.paste("#dfe4ea", (left, top, left + SIDE, top + SIDE))
        return
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))
