"""What a table says of each example: its class, several labels or a value; the settings and the reading of a row."""

from dataclasses import KW_ONLY, dataclass
from typing import Literal

from pipeline.config import setting
from pipeline.sources import _columns, _user
from pipeline.sources._records import Record
from pipeline.targets import SEPARATOR, Kind, joined

YES, NO = ("1", "1.0", "true", "yes", "是"), ("0", "0.0", "false", "no", "否")


@dataclass(frozen=True)
class LabelledTable(_user.UserSource):
    """The settings that come with each source that reads a table."""

    _: KW_ONLY
    target: Kind = "classes"  # labels: several of each, by separator or label_columns; value: label_column is a number
    separator: str | None = setting(None)  # between the labels of one cell, such as ; or /
    label_columns: tuple[str, ...] = ()  # one a label, named as the label, with 1 where it applies and 0 where not
    unlabelled: Literal["refuse", "none"] = "refuse"  # an empty cell of labels: none: none of them applies

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target != "labels":
            for name in ("separator", "label_columns"):
                if value := getattr(self, name):
                    raise ValueError(f"{name}: found {value!r}; expected it with target: labels alone")
            if self.unlabelled != "refuse":
                raise ValueError("unlabelled: found 'none'; expected it with target: labels alone")
        elif bool(self.separator) == bool(self.label_columns):
            found = "both separator and label_columns" if self.separator else "neither separator nor label_columns"
            raise ValueError(f"target: found labels with {found}; expected one of the two")
        for name in self.label_columns:
            if SEPARATOR in name or self.label_columns.count(name) > 1:
                raise ValueError(f"label_columns: found {name!r}; expected different names without {SEPARATOR}")

    def labelling(self, label_column: str | None) -> dict[str, str]:
        """Setting → column, of those that say what an example is."""
        if self.label_columns:
            return {f"label_columns[{k}]": name for k, name in enumerate(self.label_columns)}
        return {"label_column": label_column} if label_column else {}


def label(config: LabelledTable, label_column: str | None, record: Record) -> tuple[str | None, str | None]:
    """What the column `label` is to have, and why the row is refused, if it is. A number is validation's to judge."""
    if config.label_columns:
        return _of_columns(config.label_columns, record)
    word = _columns.word(record, label_column)
    if not word:
        if config.target == "labels" and config.unlabelled == "none":
            return "", None
        return None, f"no label (column {label_column!r})"
    if config.target != "labels":
        return word, None
    names = [name.strip() for name in word.split(str(config.separator))]
    names = [name for name in names if name]
    if any(SEPARATOR in name for name in names):
        return None, f"a label with {SEPARATOR} in its name (column {label_column!r})"
    if not names:
        return None, f"no label between the separators (column {label_column!r})"
    return joined(names), None


def _of_columns(columns: tuple[str, ...], record: Record) -> tuple[str | None, str | None]:
    there = []
    for column in columns:
        word = (_columns.word(record, column) or "").lower()
        if word not in (*YES, *NO):
            return None, f"{word!r} for a label (column {column!r}), which is neither 1 nor 0"
        if word in YES:
            there.append(column)
    return joined(there), None
