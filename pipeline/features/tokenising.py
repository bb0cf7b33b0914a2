"""Jieba as the pipeline uses it: private cache, silent, its version and dictionary on record.

Only jieba and the standard library, so that a served model can carry this file with it.
"""

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

    Jieba loads its cache with marshal, which can crash on a planted file, from the shared temporary folder;
    here it lies in `cache`, a folder of this user alone, or in one that is gone once the dictionary is read.
    """

    def __init__(self, *, hmm: bool = True, cache: Path | None = None) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # jieba 0.42.1 imports pkg_resources and has unescaped patterns
            import jieba
        jieba.setLogLevel(logging.WARNING)
        self.hmm = hmm
        self.versions = versions()
        self._jieba: Any = jieba.Tokenizer()
        if cache is None:
            with tempfile.TemporaryDirectory(prefix="danlu-jieba-") as folder:
                self._initialise(folder)
        else:
            self._initialise(str(private(cache / f"jieba-{self.versions['dictionary_sha256'][:16]}")))

    def _initialise(self, folder: str) -> None:
        self._jieba.tmp_dir = folder
        self._jieba.initialize()

    def cut(self, text: str) -> list[str]:
        """The words and punctuation of a cleaned text, white space left out."""
        return [word for word in self._jieba.cut(text, HMM=self.hmm) if not word.isspace()]


def private(folder: Path) -> Path:
    """The folder, made for this user alone. Raises: DataError when it is another's or a link."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    status = folder.lstat()
    if folder.is_symlink() or status.st_uid != os.getuid():
        raise DataError(f"{folder}: not this user's own folder; expected a private cache; remove it")
    folder.chmod(0o700)
    return folder
