"""One text, cleaned: the code that measures, prepares and serves texts. Only the standard library.

No step knows English alone: nothing is removed but characters that cannot be seen.
"""

import html
import re
import unicodedata

# C0 and C1 controls but for tab and line ends, soft hyphen, zero-width and bidirectional marks and joiners (a joined
# emoji comes apart), fillers, variation selectors, byte-order mark, tags, lone surrogates, noncharacters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
SPACE = re.compile(r"\s+")
HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# html.unescape alone would also turn `&copy` inside `a&copy=1` and every bare `&lt`: entities end in `;` here.
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


def clean(text: str, *, entities: bool = True, normalise: bool = True, lower: bool = True) -> str:
    """The text with entities resolved, NFKC, invisible characters removed, white space single and trimmed.

    `normalise` is NFKC: full-width letters and digits become ASCII, ligatures are taken apart.
    """
    if entities and "&" in text:
        text = ENTITY.sub(lambda found: html.unescape(found.group()), text)
    text = INVISIBLE.sub("", text)
    if normalise:
        text = unicodedata.normalize("NFKC", text)
    if lower:
        text = text.lower()
    return SPACE.sub(" ", text).strip()


def chinese_share(text: str) -> float:
    """Share of Han characters among those that are not white space, 0..1; 0 for a blank text."""
    visible = len(text) - sum(map(str.isspace, text))
    return len(HAN.findall(text)) / visible if visible else 0.0
