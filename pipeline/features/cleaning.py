"""One text, cleaned: the code that measures, prepares and serves texts. Only the standard library.

No step knows English alone: nothing is removed but characters that cannot be seen.
"""

import html
import re
import unicodedata
from dataclasses import dataclass, fields

# C0 and C1 controls but for tab and line ends, soft hyphen, zero-width and bidirectional marks and joiners (a joined
# emoji comes apart), fillers, variation selectors, byte-order mark, tags, lone surrogates, noncharacters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# html.unescape alone would also turn `&copy` inside `a&copy=1` and every bare `&lt`: entities end in `;` here.
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
PUNCTUATION = tuple((chr(ord(plain) + 0xFEE0), plain) for plain in ",!?:;()~")  # full-width, by how often they stand


@dataclass(frozen=True)
class Steps:
    """Which steps are taken, in this order."""

    entities: bool = True  # &amp; and the like resolved
    invisible: bool = True  # control, zero-width and bidirectional characters removed
    normalise: bool = True  # NFKC: full-width letters and digits become ASCII, ligatures are taken apart
    lower: bool = True


COUNTED = tuple(field.name for field in fields(Steps))


def clean(text: str, steps: Steps = Steps()) -> str:
    """The text after the steps, white space single and trimmed."""
    return counted(text, steps)[0]


def counted(text: str, steps: Steps = Steps()) -> tuple[str, tuple[int, ...]]:
    """The cleaned text, and how often each step of COUNTED changed something."""
    entities = invisible = normalised = lowered = 0
    if steps.entities and "&" in text:
        text, entities = ENTITY.subn(lambda found: html.unescape(found.group()), text)
    if steps.invisible:
        text, invisible = INVISIBLE.subn("", text)
    if steps.normalise:
        text, normalised = _changed(text, nfkc(text))
    if steps.lower:
        text, lowered = _changed(text, text.lower())
    return " ".join(text.split()), (entities, invisible, normalised, lowered)


def _changed(before: str, after: str) -> tuple[str, int]:
    return after, int(before != after)


def nfkc(text: str) -> str:
    """Unicode's NFKC, six times as fast where full-width punctuation is all that keeps a text from it."""
    if unicodedata.is_normalized("NFKC", text):
        return text
    for wide, plain in PUNCTUATION:
        text = text.replace(wide, plain)
    return text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)


def versions(steps: Steps) -> dict[str, str]:
    """The packages, with their versions, that decide what the steps give."""
    return {}


def chinese_share(text: str) -> float:
    """Share of Han characters among those that are not white space, 0..1; 0 for a blank text."""
    visible = len(text) - sum(map(str.isspace, text))
    return len(HAN.findall(text)) / visible if visible else 0.0
