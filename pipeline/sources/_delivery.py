"""A delivery: a folder or an archive that is accepted or refused whole, and then read as its layout says."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.config import setting
from pipeline.errors import DataError
from pipeline.examples import Example
from pipeline.sources import _checksums, _encodings, _layout, _tree, _unpack, _user
from pipeline.sources._entry import Limits, Names

LICENCE_LIMIT = 1 << 20  # bytes
SPDX = re.compile(r"SPDX-License-Identifier:\s*([\w.+() -]{2,100})")


@dataclass(frozen=True)
class Settings(_user.UserSource):
    """What `delivery` and `inbox` share; the limits are those of an archive."""

    layout: dict[str, str | bool | int | float | tuple[str, ...] | None] = setting({"name": "image_folder"})
    checksums: str | None = setting(
        None
    )  # such as SHA256SUMS, in the delivery: it then has to hold just what is listed
    licence_file: str | None = setting(None)  # in the delivery, which is refused without it
    names: Names | None = setting(None)  # encoding of file names where an archive does not say it
    max_bytes: int = setting(200_000_000_000, low=1, unit="bytes unpacked")
    max_entries: int = setting(2_000_000, low=1, unit="files and folders")
    max_ratio: float = setting(250.0, low=1, unit="bytes unpacked a byte of archive")
    max_depth: int = setting(32, low=1, high=100, unit="folders")

    def __post_init__(self) -> None:
        super().__post_init__()
        _layout.check(self.layout)
        for name in ("checksums", "licence_file"):
            value = getattr(self, name)
            if value and (value.startswith("/") or ".." in value.split("/")):
                raise ValueError(f"{name}: found {value!r}; expected a path inside the delivery")

    @property
    def kind(self) -> str:
        return str(_layout.module(self.layout).KIND)

    @property
    def said(self) -> Any:
        """The layout's settings, which say what the examples are asked for."""
        return _layout.settings(self.layout)

    @property
    def limits(self) -> Limits:
        return Limits(self.max_bytes, self.max_entries, self.max_ratio, self.max_depth)


@dataclass(frozen=True)
class Opened:
    """A delivery as a folder, not yet compared with its list of check sums."""

    settings: Settings
    root: Path
    sha256: str = ""  # of an archive
    refused: tuple[tuple[str, str], ...] = ()
    papers: frozenset[str] = field(default=frozenset(), repr=False)  # below the layout's place: no examples

    def verify(self) -> None:
        """Raises: DataError for a delivery that is refused."""
        if self.settings.checksums:
            _checksums.verify(self.root, self.settings.checksums)
        self.licence()

    def read(self) -> Iterator[Example]:
        """Every example, then one refused one for each entry of the archive that was not written."""
        config = _layout.config(self.settings.layout, self.root)
        yield from _layout.module(self.settings.layout).read(config, self.papers)
        for name, reason in self.refused:
            yield Example(name, refused=reason)

    def files(self) -> Iterator[tuple[str, Path]]:
        config = _layout.config(self.settings.layout, self.root)
        yield from _layout.module(self.settings.layout).files(config, self.papers)

    def encoding(self) -> dict[str, str]:
        """The encodings that texts are read in, in words."""
        if self.settings.kind != "text":
            return {}
        declared = _layout.config(self.settings.layout, self.root).encoding
        return {"encoding": _encodings.used((path for _, path in self.files()), declared)}

    def licence(self) -> dict[str, str]:
        """The licence's name, text and hash, as the delivery brings them."""
        name = self.settings.licence_file
        if not name:
            return {}
        path, reason = self.root / name, _tree.own(self.root, name)
        if reason or path.stat().st_size > LICENCE_LIMIT:
            reason = reason or "over 1 MB"
            raise DataError(f"{self.root}: found no {name} ({reason}); expected the licence; deliver it too")
        content = path.read_bytes()
        text = content.decode("utf-8", "replace")
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        if not first:
            raise DataError(f"{path}: found no text; expected the licence; deliver it again")
        match = SPDX.search(text)
        named = {"licence": (match[1].strip() if match else first)[:100]}
        return named | {"licence_text": text, "licence_sha256": hashlib.sha256(content).hexdigest()}


def opened(settings: Settings, path: Path, digest: str | None = None) -> Opened:
    """The folder, or the unpacked archive, at `path`; `digest` is the sha256 of an archive that was judged before.

    Raises: DataError for an archive that is refused, or what is neither.
    """
    if path.is_dir():
        found = Opened(settings, path)
    elif path.is_file():
        if digest is None:
            _checksums.verify_archive(path)
        if not _unpack.form(path):
            raise DataError(
                f"{path}: found no archive; {_unpack.EXPECTED}, or a folder; move it out of the inbox, or correct "
                "source.path"
            )
        unpacked = _unpack.unpack(path, settings.names, settings.limits, digest)
        found = Opened(settings, unpacked.root, unpacked.sha256, unpacked.refused)
    else:
        raise DataError(f"{path}: found neither a folder nor a regular file; expected a delivery; correct source.path")
    return replace(found, papers=_papers(settings))


def _papers(settings: Settings) -> frozenset[str]:
    """The list of check sums, its signatures and the licence, as paths below the layout's place."""
    stated = [name for name in (settings.checksums, settings.licence_file) if name]
    stated += [f"{settings.checksums}{suffix}" for suffix in _checksums.SIGNATURES if settings.checksums]
    inside = str(settings.layout.get("path", ".")).strip("/").removeprefix("./")
    start = "" if inside in ("", ".") else f"{inside}/"
    return frozenset(name.removeprefix("./").removeprefix(start) for name in stated)


def describe(settings: Settings, opened: Opened | None) -> Mapping[str, Any]:
    found = dict(_user.describe(settings))
    if opened:
        found |= {"archive_sha256": opened.sha256} if opened.sha256 else {}
        licence = opened.licence()
        if settings.licence != _user.UserSource.licence:  # what the user states goes first
            licence.pop("licence", None)
        found |= licence | opened.encoding()
    return found
