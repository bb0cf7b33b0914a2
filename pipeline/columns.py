"""Finds the columns of texts and labels in a table of whatever make."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pipeline.errors import DataError
from pipeline.sources._tree import SPLIT_FOLDERS

TEXT_NAMES = (
    "text",
    "content",
    "review",
    "comment",
    "sentence",
    "body",
    "内容",
    "文本",
    "评论",
    "正文",
    "句子",
    "文字",
)
LABEL_NAMES = ("label", "category", "class", "sentiment", "target", "标签", "类别", "分类", "情感", "标注")
SPLIT_NAMES = ("split", "划分")
GROUP_NAMES = ("group", "group_id", "patient", "patient_id", "分组")
FEWEST_GROUPS = 3  # one a side of the split
PATH_NAMES = ("path", "file", "filename", "image", "图片", "文件", "文件名", "路径")
MOST_CLASSES = 100
LONGEST_LABEL = 20  # characters
MOSTLY = 0.5  # of the characters are Chinese
FLAGS = "say --text NAME --label NAME"


@dataclass
class Column:
    """What a column holds."""

    filled: int = 0
    characters: int = 0
    chinese: int = 0
    longest: int = 0
    distinct: set[str] = field(default_factory=set)  # at most one more than MOST_CLASSES

    def add(self, text: str) -> None:
        text = text.strip()
        if not text:
            return
        self.filled += 1
        self.characters += len(text)
        self.chinese += sum("\u3400" <= c <= "\u9fff" for c in text)
        self.longest = max(self.longest, len(text))
        if len(self.distinct) <= MOST_CLASSES:
            self.distinct.add(text)

    @property
    def mostly_chinese(self) -> bool:
        return self.chinese > MOSTLY * self.characters

    @property
    def like_labels(self) -> bool:
        count = len(self.distinct)
        return 2 <= count <= MOST_CLASSES and self.longest <= LONGEST_LABEL and count <= self.filled / 2


def survey(rows: Iterable[Mapping[str, str]]) -> dict[str, Column]:
    """What each column holds, in the order in which the columns appear."""
    columns: dict[str, Column] = {}
    for row in rows:
        for name, text in row.items():
            columns.setdefault(name, Column()).add(text)
    return columns


def choose(
    columns: Mapping[str, Column], place: str, text: str | None = None, label: str | None = None
) -> tuple[str, str]:
    """The names of the text and the label column: those asked for, else known names, else by what they hold.

    Raises: DataError, with all columns' names, when a column asked for is missing or several would do.
    """
    for asked in (text, label):
        if asked is not None and asked not in columns:
            raise DataError(f"{place}: found no column {asked!r}; expected one of {', '.join(columns)}; {FLAGS}")
    text = text or _text(columns, place, label)
    label = label or _label(columns, place, text)
    if text == label:
        raise DataError(f"{place}: found {text!r} as text and as label; expected two columns; {FLAGS}")
    return text, label


def choose_label(columns: Mapping[str, Column], place: str, taken: str, label: str | None = None) -> str:
    """The name of the label column, as `choose` finds it, where another column is known already.

    Raises: DataError as there.
    """
    if label is not None and label not in columns:
        raise DataError(f"{place}: found no column {label!r}; expected one of {', '.join(columns)}; {FLAGS}")
    return label or _label(columns, place, taken)


def naming(rows: Iterable[Mapping[str, str]], exists: Callable[[str], bool], most: int, share: float) -> str | None:
    """The first column of whose filled cells at least that share name what exists, judged by that many rows."""
    named, filled = Counter[str](), Counter[str]()
    for row in itertools.islice(rows, most):
        for column, cell in row.items():
            if cell.strip():
                filled[column] += 1
                named[column] += exists(cell.strip())
    return next((column for column in filled if named[column] >= share * filled[column]), None)


def labelled(columns: Mapping[str, Column], taken: str) -> bool:
    """Whether a column is called what labels are called."""
    return bool(_known(columns, LABEL_NAMES, taken))


def probabilities(read: Callable[[], Iterable[Mapping[str, str]]], share: float) -> list[str]:
    """The columns of numbers from 0 to 1 whose sum is 1 in at least that share of the rows; none where there are none.

    read: gives the rows, and is called twice.
    """
    numbers, total = Counter[str](), 0
    for row in read():
        total += 1
        numbers.update(name for name, cell in row.items() if _is_share(cell))
    found = [name for name, count in numbers.items() if count >= share * total]
    if len(found) < 2:
        return []
    whole = sum(
        all(_is_share(row.get(name, "")) for name in found) and abs(sum(float(row[name]) for name in found) - 1) <= 1e-3
        for row in read()
    )
    return found if whole >= share * total else []


def _is_share(cell: str) -> bool:
    try:
        return 0 <= float(cell) <= 1
    except ValueError:
        return False


def _known(columns: Iterable[str], names: Sequence[str], taken: str | None) -> list[str]:
    return [name for name in columns if name.strip().lower() in names and name != taken]


def _text(columns: Mapping[str, Column], place: str, label: str | None) -> str:
    likely = _known(columns, TEXT_NAMES, label)
    if not likely:
        chinese = [name for name in columns if columns[name].mostly_chinese and name != label]
        likely = sorted(chinese, key=lambda name: -columns[name].characters / columns[name].filled)[:1]
    return _only(likely, columns, place, "texts")


def _label(columns: Mapping[str, Column], place: str, text: str) -> str:
    likely = _known(columns, LABEL_NAMES, text)
    if not likely:
        spoken_for = {text, split(columns), group(columns)}
        likely = [name for name in columns if name not in spoken_for and columns[name].like_labels]
    return _only(likely, columns, place, "labels")


def _only(likely: Sequence[str], columns: Iterable[str], place: str, holds: str) -> str:
    if len(likely) == 1:
        return likely[0]
    found = f"{', '.join(likely)} as columns that may hold the {holds}" if likely else f"no column that holds {holds}"
    raise DataError(f"{place}: found {found}; expected one of {', '.join(columns)}; {FLAGS}")


def split(columns: Mapping[str, Column]) -> str | None:
    """The column in which the user has written the split of every row, if there is one."""
    for name in _known(columns, SPLIT_NAMES, None):
        if columns[name].distinct and {value.lower() for value in columns[name].distinct} <= SPLIT_FOLDERS.keys():
            return name
    return None


def group(columns: Mapping[str, Column]) -> str | None:
    """The column that says which rows belong together, if there is one with groups enough to share out."""
    found = [name for name in _known(columns, GROUP_NAMES, None) if len(columns[name].distinct) >= FEWEST_GROUPS]
    return min(found, key=lambda name: GROUP_NAMES.index(name.strip().lower()), default=None)


def first_line_is_data(rows: Sequence[Mapping[str, str]]) -> bool:
    """Whether a table read without a header has none: its first line has no known name, and a label of later lines."""
    first = {name: cell.strip() for name, cell in rows[0].items()}
    if {cell.lower() for cell in first.values()} & {*TEXT_NAMES, *LABEL_NAMES, *SPLIT_NAMES, *PATH_NAMES}:
        return False
    if len(set(first.values())) < len(first) or "" in first.values():
        return True
    columns = survey(rows[1:])
    return any(column.like_labels and first[name] in column.distinct for name, column in columns.items())
