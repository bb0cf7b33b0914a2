"""The steps of cleaning that a task must ask for. Each gives the text and how often it changed it, in linear time.

What is taken out leaves a blank, so that what stood on its two sides does not become one word.
"""

import functools
import re
from collections.abc import Iterator
from typing import Any

MASKS = {"urls": " url ", "emails": " email ", "phones": " phone "}
# Patterns are of ASCII alone: Chinese characters may follow an address without a blank. Each starts where a run of its
# characters starts and counts what may follow, so that a million equal characters cost one pass.
PATTERNS = {
    "urls": re.compile(
        r"(?:https?|ftp)://[!#-;=?-~]*[a-z0-9/=&#%_~+-]|(?<![a-z0-9@.])www\.[a-z0-9-]{1,63}\.(?:[!#-;=?-~]*[a-z0-9/=&#%_~+-])?",
        re.IGNORECASE,
    ),
    "emails": re.compile(
        r"(?<![a-z0-9._%+-])[a-z0-9._%+-]{1,64}@(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}(?![a-z0-9-])", re.IGNORECASE
    ),
    # Chinese mobile numbers, numbers with an area code, and service numbers; more digits around make it another number.
    "phones": re.compile(
        r"(?<![a-zA-Z0-9_.+])(?:(?:\+?86[ -]?)?1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}"
        r"|(?:\(0[0-9]{2,3}\) ?|0[0-9]{2,3}[ -]?)[0-9]{7,8}(?:-[0-9]{1,5})?"
        r"|[48]00[ -]?[0-9]{3}[ -]?[0-9]{4})(?![a-zA-Z0-9_])"
    ),
}
NEEDED = {"urls": ("://", "www.", "WWW.", "Www."), "emails": ("@",), "phones": ()}  # one of these, for a match
WILD = 40  # characters that `*` in a phrase stands for, at most

# Two neighbours of the kind that utf-8 leaves when it is read byte by byte in a Western encoding.
LATIN = re.compile("[\u0080-\u017f\u0192\u02c6\u02dc\u2013-\u2122]{2}")
HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
NOT_HAN = re.compile("[\u0080-\u07ff]")  # two bytes in utf-8, as pairs of real Chinese bytes may seem

# Where emoji lie, and much else; joiners, variation selectors and tags go on with one that has begun.
_SYMBOLS = "\u00a9\u00ae\u203c-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001ffff"
EMOJI = re.compile(f"[0-9#*]\ufe0f?\u20e3|[{_SYMBOLS}][{_SYMBOLS}\u200d\ufe0f\U000e0020-\U000e007f]*")
LONGEST_EMOJI = 10  # characters


def mask(text: str, kind: str, mode: str) -> tuple[str, int]:
    """Addresses or numbers of the kind replaced by a word, or with `drop` by a blank."""
    if NEEDED[kind] and not any(sign in text for sign in NEEDED[kind]):
        return text, 0
    return PATTERNS[kind].subn(MASKS[kind] if mode == "mask" else " ", text)


def phrases(found: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of the phrases, the longest first; `*` in one stands for up to WILD characters.

    Phrases and not patterns, since a pattern of a user's may take for ever on a text of a stranger's.
    """
    parts = (re.escape(phrase).replace(r"\*", f".{{0,{WILD}}}?") for phrase in sorted(found, key=len, reverse=True))
    return re.compile("|".join(parts))


def check_phrase(phrase: str) -> None:
    """Raises: ValueError for a phrase that would match too much or take too long."""
    plain = phrase.replace("＊", "*").strip()
    if not 2 <= len(plain) <= 200 or plain.count("*") > 1 or plain.strip("*") != plain:
        raise ValueError(
            f"boilerplate: found {phrase!r}; expected 2 to 200 characters, with at most one * inside (up to {WILD} "
            "characters)"
        )


@functools.cache
def runs(longest: int) -> re.Pattern[str]:
    """Finds more than `longest` equal characters in a row; digits are left, since 1000 is not 100."""
    return re.compile(rf"([^\s0-9])\1{{{longest},}}")


def shorten(text: str, longest: int) -> tuple[str, int]:
    return runs(longest).subn(lambda found: found.group(1) * longest, text)


def repair(text: str) -> tuple[str, int]:
    """Utf-8 that was read as a Western encoding, by ftfy, or as gb18030, where all of the text shows it."""
    if LATIN.search(text):
        import ftfy

        fixed = ftfy.fix_encoding(text)
        return fixed, int(fixed != text)
    try:
        fixed = text.encode("gb18030").decode("utf-8")
    except UnicodeError:
        return text, 0
    if text.isascii() or not HAN.search(fixed) or NOT_HAN.search(fixed):
        return text, 0
    return fixed, 1


@functools.cache
def _emoji() -> dict[str, dict[str, Any]]:
    """What is known of each emoji, which may be several characters."""
    import emoji

    emoji.config.load_language("zh")
    return emoji.EMOJI_DATA


def emojis(text: str, mode: str) -> tuple[str, int]:
    """Emoji replaced by their Chinese names, or with `drop` by a blank."""
    count = 0

    def rewritten(found: re.Match[str]) -> str:
        nonlocal count
        parts = list(_parts(found.group()))
        count += sum(data is not None for _, data in parts)
        return "".join(part if data is None else _name(data) if mode == "name" else " " for part, data in parts)

    return EMOJI.sub(rewritten, text), count


def _name(data: dict[str, Any]) -> str:
    return f" {data.get('zh', data['en']).strip(':')} "


def _parts(run: str) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """The longest emoji from the left, each with what is known of it, and single characters between."""
    known, start = _emoji(), 0
    while start < len(run):
        sizes = range(min(LONGEST_EMOJI, len(run) - start), 0, -1)
        size = next((size for size in sizes if run[start : start + size] in known), 1)
        part = run[start : start + size]
        yield part, known.get(part)
        start += size


@functools.cache
def _opencc(conversion: str) -> Any:
    import opencc

    return opencc.OpenCC(conversion)


def simplify(text: str, conversion: str) -> tuple[str, int]:
    """Traditional characters as simplified ones; the conversions that end in p turn regional words too."""
    if not HAN.search(text):
        return text, 0
    converted: str = _opencc(conversion).convert(text)
    return converted, int(converted != text)
