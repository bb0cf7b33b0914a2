"""Jieba as the pipeline uses it: private cache, silent, its version and dictionary on record.

Only jieba and the standard library, so that a served model can carry this file with it.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

from pipeline.errors import DataError


def dictionary() -> Path:
    """Jieba's own dictionary file, found without importing jieba."""
    found = importlib.util.find_spec("jieba")
    if found is None or found.origin is None:
        raise DataError("jieba: not installed; expected jieba 0.42.1; install the project's lock file")
    return Path(found.origin).with_name("dict.txt")


def versions() -> dict[str, str]:
    """What decides how a text is cut, to be recorded with it: jieba's version and its dictionary's sha256."""
    digest = hashlib.sha256(dictionary().read_bytes()).hexdigest()
    return {"jieba": importlib.metadata.version("jieba"), "dictionary_sha256": digest}


class Tokeniser:
    """Cuts texts into words. `hmm` also finds words that the dictionary lacks.

    Jieba loads its cache with marshal, which a planted file can crash, from the shared temporary folder; here it
    lies in a folder below `cache` that is this user's alone, or without `cache` in a temporary one.
    """

    def __init__(self, *, hmm: bool = True, cache: Path | None = None) -> None:
        self.hmm = hmm
        self.versions = versions()
        name = f"jieba-{self.versions['dictionary_sha256'][:16]}"
        self._jieba = _load(private(cache.absolute() / name) if cache else None)

    def cut(self, text: str) -> list[str]:
        """The words and punctuation of a cleaned text, white space left out."""
        return [word for word in self._jieba.cut(text, HMM=self.hmm) if not word.isspace()]


@functools.lru_cache(maxsize=1)
def _load(folder: Path | None) -> Any:
    """Jieba with its dictionary loaded, which takes 0.5 to 1 s; `folder` holds its cache."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jieba 0.42.1 imports pkg_resources and has unescaped patterns
        import jieba
    jieba.setLogLevel(logging.WARNING)
    found = jieba.Tokenizer()
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
