"""One text, cleaned: the code that measures, prepares and serves texts.

Only the standard library, and ftfy, emoji or opencc where a step that needs it is on. No step knows English alone.
The steps go from what hides characters to what is made of them: mojibake first, since later steps would take its bytes
for characters; entities, which may stand for any character; emoji before the invisible characters that join them;
NFKC, lower case and simplification, after which addresses and phrases have one spelling; then these; then runs.
"""

import functools
import html
import importlib.metadata
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Literal

from pipeline.features import rewriting

# C0 and C1 controls but for tab and line ends, soft hyphen, zero-width and bidirectional marks and joiners (a joined
# emoji comes apart), fillers, variation selectors, byte-order mark, tags, lone surrogates, noncharacters.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff\ud800-\udfff"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which no library takes
HAN = re.compile("[\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
# html.unescape alone would also turn `&copy` inside `a&copy=1` and every bare `&lt`: entities end in `;` here.
ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
PUNCTUATION = tuple((chr(ord(plain) + 0xFEE0), plain) for plain in ",!?:;()~")  # full-width, by how often they stand
PASSES = 8  # at most; what a step leaves may be a case for an earlier one, such as `&amp;amp;`
PACKAGES = {"mojibake": "ftfy", "emoji": "emoji", "simplify": "opencc"}
Mask = Literal["keep", "mask", "drop"]
Step = Callable[[str], tuple[str, int]]


@dataclass(frozen=True)
class Steps:
    """Which steps are taken, in the order of the fields."""

    mojibake: Literal["keep", "repair"] = "keep"  # utf-8 that was read in another encoding
    entities: bool = True  # &amp; and the like resolved
    emoji: Literal["keep", "name", "drop"] = "keep"  # name: in Chinese
    invisible: bool = True  # control, zero-width and bidirectional characters removed
    normalise: bool = True  # NFKC: full-width letters and digits become ASCII, ligatures are taken apart
    lower: bool = True
    simplify: Literal["none", "t2s", "tw2s", "tw2sp", "hk2s", "hk2sp"] = "none"  # a conversion of opencc
    urls: Mask = "keep"  # mask: the word url
    emails: Mask = "keep"  # mask: the word email
    phones: Mask = "keep"  # mask: the word phone
    boilerplate: tuple[str, ...] = ()  # phrases to take out, found as they stand after the steps above
    repeats: int | None = None  # equal characters in a row, at most, digits aside

    def __post_init__(self) -> None:
        if self.repeats is not None and self.repeats < 1:
            raise ValueError(f"repeats: found {self.repeats}; expected a whole number ≥ 1, or null")
        if len(self.boilerplate) > 1000:
            raise ValueError(f"boilerplate: found {len(self.boilerplate)} phrases; expected at most 1000")
        for phrase in self.boilerplate:
            rewriting.check_phrase(phrase)


COUNTED = tuple(field.name for field in fields(Steps))


def clean(text: str, steps: Steps = Steps()) -> str:
    """The text after the steps, white space single and trimmed. A cleaned text stays as it is."""
    return counted(text, steps)[0]


def counted(text: str, steps: Steps = Steps()) -> tuple[str, tuple[int, ...]]:
    """The cleaned text, and how often each step of COUNTED changed something."""
    return _counted(text, steps, _plan(steps))


def each(texts: Iterable[str], steps: Steps = Steps()) -> Iterator[tuple[str, tuple[int, ...]]]:
    """`counted` of each text, the steps looked up once."""
    plan = _plan(steps)
    return (_counted(text, steps, plan) for text in texts)


def _counted(text: str, steps: Steps, plan: list[tuple[int, Step, bool]]) -> tuple[str, tuple[int, ...]]:
    counts = [0] * len(COUNTED)
    for _ in range(PASSES):
        again = False
        for place, step, settled in plan:
            text, count = step(text)
            counts[place] += count
            again = again or (count > 0 and not settled)
        text = " ".join(text.split())
        if not again and not (steps.entities and "&" in text and ENTITY.search(text)):
            break
    return text, tuple(counts)


@functools.lru_cache(maxsize=100)
def _plan(steps: Steps) -> list[tuple[int, Step, bool]]:
    """For each step that is on: its place in COUNTED, what it does, and whether what it leaves is settled."""
    found: dict[str, Step] = {}
    if steps.mojibake == "repair":
        found["mojibake"] = rewriting.repair
    if steps.entities:
        found["entities"] = _resolve
    if steps.emoji != "keep":
        found["emoji"] = functools.partial(rewriting.emojis, mode=steps.emoji)
    found["invisible"] = functools.partial((INVISIBLE if steps.invisible else SURROGATE).subn, "")
    if steps.normalise:
        found["normalise"] = _normalise
    if steps.lower:
        found["lower"] = functools.partial(_lower, normal=steps.normalise)
    if steps.simplify != "none":
        found["simplify"] = functools.partial(rewriting.simplify, conversion=steps.simplify)
    for kind in rewriting.MASKS:
        if getattr(steps, kind) != "keep":
            found[kind] = functools.partial(rewriting.mask, kind=kind, mode=getattr(steps, kind))
    if steps.boilerplate:
        before = replace(steps, boilerplate=(), repeats=None)
        phrases = (clean(phrase, before) for phrase in steps.boilerplate)
        found["boilerplate"] = functools.partial(rewriting.phrases(tuple(filter(None, phrases))).subn, " ")
    if steps.repeats:
        found["repeats"] = functools.partial(rewriting.shorten, longest=steps.repeats)
    settled = ("invisible", "normalise", "lower", "simplify")
    return [(COUNTED.index(name), step, name in settled) for name, step in found.items()]


def _resolve(text: str) -> tuple[str, int]:
    return ENTITY.subn(lambda found: html.unescape(found.group()), text) if "&" in text else (text, 0)


def _normalise(text: str) -> tuple[str, int]:
    after = nfkc(text)
    return after, int(after != text)


def nfkc(text: str) -> str:
    """Unicode's NFKC, six times as fast where full-width punctuation is all that keeps a text from it."""
    if unicodedata.is_normalized("NFKC", text):
        return text
    for wide, plain in PUNCTUATION:
        text = text.replace(wide, plain)
    return text if unicodedata.is_normalized("NFKC", text) else unicodedata.normalize("NFKC", text)


def _lower(text: str, normal: bool) -> tuple[str, int]:
    after = text.lower()
    if after == text:
        return text, 0
    # The small letter may combine with the mark after it where the capital did not.
    return (_normalise(after)[0] if normal and not after.isascii() else after), 1


def versions(steps: Steps) -> dict[str, str]:
    """The packages, with their versions, that decide what the steps give."""
    usual = Steps()
    used = [package for name, package in PACKAGES.items() if getattr(steps, name) != getattr(usual, name)]
    return {package: importlib.metadata.version(package) for package in used}


def chinese_share(text: str) -> float:
    """Share of Han characters among those that are not white space, 0..1; 0 for a blank text."""
    visible = len(text) - sum(map(str.isspace, text))
    return len(HAN.findall(text)) / visible if visible else 0.0
