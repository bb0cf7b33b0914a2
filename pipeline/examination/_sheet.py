"""A contact sheet: one line of small pictures a group, each with its label, as PNG."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from pipeline.examination._groups import MEMBERS, Group

SIDE = 112  # pixels of a picture
GAP = 10
TITLE, CAPTION = 22, 16


def write(groups: Sequence[Group], picture: Callable[[str], Image.Image | None], out: Path) -> None:
    """picture: the image of an id, or None where there is none any more."""
    line = TITLE + SIDE + 2 * CAPTION + GAP
    sheet = Image.new("RGB", (GAP + MEMBERS * (SIDE + GAP), GAP + line * len(groups)), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    bold = ImageFont.load_default(14)
    for number, group in enumerate(groups):
        top = GAP + line * number
        more = f" ({group.size - MEMBERS} more)" if group.size > MEMBERS else ""
        draw.text((GAP, top), f"{number + 1}. {drawable(group.title)}{more}", "#1c2430", bold)
        for place, row in enumerate(group.rows[:MEMBERS]):
            left = GAP + place * (SIDE + GAP)
            _paste(sheet, picture(row.id), left, top + TITLE)
            draw.text((left, top + TITLE + SIDE + 2), _cut(drawable(row.label), font), "#1f5f99", font)
            draw.text((left, top + TITLE + SIDE + CAPTION), _cut(drawable(row.note or row.id), font), "#5d6b7c", font)
    sheet.save(out, optimize=True)


def _paste(sheet: Image.Image, picture: Image.Image | None, left: int, top: int) -> None:
    if picture is None:
        sheet.paste("#dfe4ea", (left, top, left + SIDE, top + SIDE))
        return
    small = picture.convert("RGB")
    small.thumbnail((SIDE, SIDE))
    sheet.paste(small, (left + (SIDE - small.width) // 2, top + (SIDE - small.height) // 2))


def drawable(text: str) -> str:
    """The font has Latin letters alone; the page's table has the whole text."""
    return "".join(letter if " " <= letter <= "ÿ" else "·" for letter in text)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """From the left: the end of a path tells more."""
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(f"…{text}") > SIDE:
        text = text[1:]
    return f"…{text}"
