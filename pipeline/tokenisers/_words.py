"""What jieba and rjieba share: jieba itself with a private cache, versions, the user's dictionary and stop words.

Only jieba and the standard library, so that a served model can carry this file with it.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pipeline.errors import DataError
from pipeline.tokenisers import _stop_words

FOLDER = Path("dictionaries")  # where a user's dictionaries and stop words lie, so that DVC sees them change
DICTIONARY, STOP_WORDS = "dictionary.txt", "stop_words.txt"  # their copies beside the prepared data
SPACE = re.compile(r"\s")


class Settings(Protocol):
    """The fields that the Configs of jieba and rjieba share."""

    @property
    def dictionary(self) -> str | None: ...
    @property
    def stop_words(self) -> str | None: ...


def check_place(name: str, path: str | None) -> None:
    """Raises: ValueError for a user's file that does not lie in FOLDER, where dvc.yaml looks for it."""
    if path is not None and os.path.normpath(path) != os.path.join(FOLDER, os.path.basename(path)):
        raise ValueError(f"{name}: found {path!r}; expected a file in {FOLDER}/; move it there")


def users(settings: Any) -> dict[str, Path]:
    """The user's files that a tokeniser's Config names, by setting."""
    values = {name: getattr(settings, name, None) for name in ("dictionary", "stop_words", "file")}
    return {name: Path(value) for name, value in values.items() if value not in (None, "default")}


def dictionary() -> Path:
    """Jieba's own dictionary file, found without importing jieba."""
    found = importlib.util.find_spec("jieba")
    if found is None or found.origin is None:
        raise DataError("jieba: not installed; expected jieba 0.42.1; install the project's lock file")
    return Path(found.origin).with_name("dict.txt")


def versions(*packages: str) -> dict[str, str]:
    """What decides how a text is cut: the packages' versions and the sha256 of jieba's own dictionary."""
    digest = hashlib.sha256(dictionary().read_bytes()).hexdigest()
    return {name: importlib.metadata.version(name) for name in packages} | {"dictionary_sha256": digest}


def copy(settings: Settings, out: Path) -> None:
    """Copies the user's dictionary and stop words into the folder `out`, from which `build` reads them.

    Raises: DataError for a file that is missing or not UTF-8.
    """
    chosen = {DICTIONARY: settings.dictionary, STOP_WORDS: settings.stop_words}
    for name, path in chosen.items():
        if path is not None and path != "default":
            lines(Path(path))
            shutil.copyfile(path, out / name)


def lines(path: Path) -> list[str]:
    """The lines of a user's file that are not blank, blanks around them removed.

    Raises: DataError for a file that is missing or not UTF-8.
    """
    try:
        text = path.read_text("utf-8-sig")
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; expected a UTF-8 file of one word a line; correct its path"
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8; expected UTF-8; convert the file") from None
    return [line.strip() for line in text.split("\n") if line.strip()]


def stop_words(settings: Settings, files: Path | None) -> frozenset[str]:
    """The words to leave out after cutting; none where `settings` name none."""
    if settings.stop_words is None:
        return frozenset()
    return _stop_words.DEFAULT if settings.stop_words == "default" else frozenset(lines(_in(files, STOP_WORDS)))


def user_dictionary(settings: Settings, files: Path | None) -> Path | None:
    """The copy of the user's dictionary, in jieba's format."""
    return _in(files, DICTIONARY) if settings.dictionary else None


def _in(files: Path | None, name: str) -> Path:
    if files is None:
        raise DataError(f"{name}: no folder given; expected that of the prepared data; prepare again")
    return files / name


class Jieba:
    """Jieba with its dictionary and a user's words, cutting with or without HMM.

    Jieba loads its cache with marshal, which a planted file can crash or fool, from the shared temporary folder; here
    it lies in a folder below `cache` that is this user's alone, or without `cache` in a temporary one.
    """

    def __init__(self, *, hmm: bool, cache: Path | None, words: Path | None) -> None:
        self.hmm = hmm
        self.base = _load(_folder(cache))
        self.tokenizer = _with_words(self.base, words) if words else self.base
        self._finalseg = _finalseg()
        self.split = _force_split(words)  # words that are to come apart

    def cut(self, text: str) -> list[str]:
        """The words, punctuation and white space of a text."""
        self._finalseg.Force_Split_Words = self.split  # jieba keeps them for all tokenisers of a process
        found: list[str] = self.tokenizer.lcut(text, HMM=self.hmm)
        return found


def _folder(cache: Path | None) -> Path | None:
    digest = versions()["dictionary_sha256"]
    return private(cache.absolute() / f"jieba-{digest[:16]}") if cache else None


def _with_words(base: Any, words: Path) -> Any:
    """Another tokeniser with the user's words added as jieba does it, line after line."""
    found = type(base)()
    found.FREQ, found.total, found.initialized = dict(base.FREQ), base.total, True
    for word, frequency, tag in entries(words):
        found.add_word(word, frequency, tag)
    return found


def entries(path: Path) -> Iterator[tuple[str, str | None, str | None]]:
    """Word, frequency and part of speech of each line of a dictionary in jieba's format: `word [frequency] [tag]`."""
    pattern = _jieba().re_userdict
    for line in lines(path):
        word, frequency, tag = pattern.match(line).groups()
        yield word, frequency and frequency.strip(), tag and tag.strip()


def _force_split(words: Path | None) -> set[str]:
    return {word for word, frequency, _ in entries(words) if frequency and int(frequency) == 0} if words else set()


def _finalseg() -> Any:
    return _jieba().finalseg


def _jieba() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba 0.42.1 imports pkg_resources and has unescaped patterns
        import jieba
    jieba.setLogLevel(logging.WARNING)
    return jieba


@functools.lru_cache(maxsize=1)
def _load(folder: Path | None) -> Any:
    """Jieba with its dictionary loaded, which takes 0.5 to 1 s; `folder` holds its cache."""
    found = _jieba().Tokenizer()
    with tempfile.TemporaryDirectory(prefix="danlu-jieba-") as temporary:
        found.tmp_dir = str(folder or temporary)
        found.initialize()
    return found


def private(folder: Path) -> Path:
    """The folder, made for this user alone. Raises: DataError when it is another's or a link."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid():
        raise DataError(f"{folder}: not this user's own folder; expected a private cache; remove it")
    folder.chmod(0o700)
    return folder


def kept(text: str, words: list[str], stops: frozenset[str]) -> list[str]:
    """The words of a text without white space and stop words."""
    if SPACE.search(text):
        words = [word for word in words if not word.isspace()]
    return [word for word in words if word not in stops] if stops else words


def tagger(jieba: Jieba) -> Callable[[str], list[tuple[str, str]]]:
    """Cuts a text as jieba.posseg does, into words with their part of speech."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from jieba.posseg import POSTokenizer

    found = POSTokenizer(jieba.tokenizer)
    return lambda text: [(pair.word, pair.flag) for pair in found.cut(text, HMM=jieba.hmm)]
