"""k folds: which part each accepted row is in, and each fold's three sides. What belongs together stays together.

A unit is all rows that are joined by the user's groups, by equal contents or by nearness, directly or through others:
what may not stand on two sides of the split may not stand in two parts either.
N rows, U units, K classes.
"""

import warnings
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from pipeline import artifacts, parts, sides, strata, targets
from pipeline.config import Task, setting
from pipeline.errors import ConfigError, DataError

OUT = -1
"""The part of a row that takes part in no fold."""
TRAIN, VALIDATION, TEST = range(3)
BALANCING = 4  # single rows of a class for each part that are divided together with the larger units
WAY = "give it more examples or groups, lower crossvalidate.folds, or merge it by validate.labels"


@dataclass(frozen=True)
class Config:
    folds: int = setting(0, low=0, high=20, unit="folds; 0: no cross-validation")
    kind: Literal["stratified", "plain"] = "stratified"  # of classes, rarest labels or groups of values
    seed: int = setting(0, low=0, high=2**32 - 1)
    workers: int | None = setting(None, low=1, high=256, unit="folds at once; null: as cores and memory allow")

    def __post_init__(self) -> None:
        if self.folds == 1:
            raise ValueError("folds: found 1; expected 0 for none, or 2 to 20")


def require_unseen(config: Config, init: Any, teacher: Any, where: str) -> None:
    """Raises: ConfigError for weights and answers of models that have learnt from rows of every fold."""
    if not config.folds:
        return
    if teacher is not None:
        raise ConfigError(
            f"{where}.train.teacher: found one with crossvalidate.folds {config.folds}; expected none, since it has "
            "seen the rows that the folds hold out; leave it out, or set crossvalidate.folds: 0"
        )
    if getattr(init, "model", None):
        raise ConfigError(
            f"{where}.train.init.model: found {init.model} with crossvalidate.folds {config.folds}; expected random, "
            "pretrained or a file, since it has seen the rows that the folds hold out; or set crossvalidate.folds: 0"
        )


def require_some(config: Config, rows: int, where: str) -> None:
    """Raises: ConfigError where suspects are asked for and there are no folds to tell them by."""
    if rows and not config.folds:
        raise ConfigError(
            f"{where}.suspects.rows: found {rows} with crossvalidate.folds 0; expected folds, whose answers tell which "
            "labels are suspect; set crossvalidate.folds: 5, or suspects.rows: 0"
        )


def require_judges(config: Config, judge: str, where: str) -> None:
    """Raises: ConfigError where folds are to judge what compression loses, and there are none."""
    if judge == "folds" and not config.folds:
        raise ConfigError(
            f"{where}.compress.budget.judge: found folds with crossvalidate.folds 0; expected folds, on which all "
            "rows judge; set crossvalidate.folds: 5, or compress.budget.judge: validation"
        )


@dataclass(frozen=True)
class Rows:
    """What decides the parts.

    units: the number of each row's unit, int64 [N].
    groups: the number of each row's class, or group of strata.py, int32 [N].
    names: of the classes or labels that every side needs; none of a value.
    having: which of them each row has, bool [N, K].
    out: whether the row takes part in no fold, bool [N].
    """

    units: np.ndarray
    groups: np.ndarray
    names: tuple[str, ...]
    having: np.ndarray
    out: np.ndarray

    def counts(self, rows: np.ndarray) -> np.ndarray:
        """How many units among some rows, bool [N], have each class, int64 [K]."""
        return np.array([len(np.unique(self.units[rows & column])) for column in self.having.T], np.int64)


def read(task: Task) -> Rows:
    """The accepted rows in their order."""
    import pandas as pd

    module, config = task.of_kind("prepare", "preparation")
    validated = artifacts.folder("validated", task.name)
    accepted, summary = validated / "accepted", artifacts.read_json(validated / "summary.json")
    target, classes = targets.recorded(summary), summary["classes"]
    texts = parts.read(accepted, ["label"])["label"].tolist()
    found = strata.found(texts, target.kind, classes, ())
    number = None if target.kind == "classes" else found.of
    neighbours = pd.read_parquet(validated / "neighbours.parquet")
    record = sides.Record(config.seed, tuple(config.shares))
    examples = sides.examples(parts.each(accepted, sides.COLUMNS), neighbours, list(found.names), record, number)
    near = module.near(config, accepted, examples.near, summary["settings"])
    units = joined(near, examples.keys)
    names = () if target.kind == "value" else tuple(classes)
    if target.kind == "classes":
        having = examples.labels[:, None] == np.arange(len(names))
    else:
        having = strata.members(texts, names) if names else np.zeros((len(texts), 0), bool)
    tested = np.unique(units[examples.given == TEST])
    return Rows(units, examples.labels, names, having, np.isin(units, tested))


def joined(near: sides.Near, keys: np.ndarray) -> np.ndarray:
    """The number of each row's unit, int64 [N]; keys: of contents, [N], equal where they are."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    count = len(keys)
    same, contents = near.same, np.unique(keys, return_inverse=True)[1]
    nodes = count + int(same.max(initial=-1)) + 1
    grouped = np.flatnonzero(near.groups >= 0)
    above = nodes + int(contents.max(initial=-1)) + 1
    rows = np.arange(count)
    links = [  # from each row to its content as the model sees it and as it came, and to its group; then what is near
        (rows, count + same),
        (rows, nodes + contents),
        (grouped, above + near.groups[grouped]),
        (count + near.pairs[:, 0], count + near.pairs[:, 1]),
    ]
    a, b = (np.concatenate([link[end] for link in links]) for end in (0, 1))
    total = above + int(near.groups.max(initial=-1)) + 1
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(total, total))
    labels = connected_components(graph, directed=False)[1][:count]
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def drawn(rows: Rows, config: Config, place: str) -> np.ndarray:
    """Each row's part, int64 [N] below `config.folds`, or OUT.

    Raises: DataError for a class with too few units, or that a part lacks; place: where the rows are.
    """
    _require_enough(rows, config, place)
    found = np.full(len(rows.units), OUT)
    inside = np.flatnonzero(~rows.out)
    found[inside] = _divided(rows, inside, config.folds, config)
    for number in range(config.folds):
        _require_all(rows, found == number, f"{place}: part {number + 1} of {config.folds}")
    return found


def _require_enough(rows: Rows, config: Config, place: str) -> None:
    least = max(config.folds, 4 if config.folds == 2 else 3)  # one for each part, and for each side of every fold
    counts = rows.counts(~rows.out)
    if len(counts) and counts.min() < least:
        few = int(counts.argmin())
        raise DataError(
            f"{place}: found {counts[few]} examples or groups of {rows.names[few]}, near duplicates together; expected "
            f"{least} or more for crossvalidate.folds {config.folds}; {WAY}"
        )
    units = len(np.unique(rows.units[~rows.out]))
    if units < least:
        raise DataError(
            f"{place}: found {units} examples or groups to cross-validate; expected {least} or more for "
            f"crossvalidate.folds {config.folds}; add examples, or lower it"
        )
    most = int(np.bincount(rows.groups[~rows.out]).max())
    if config.kind == "stratified" and most < least:
        raise DataError(
            f"{place}: found {most} examples or fewer in each class, rarest label or group of values; expected {least} "
            f"or more in one of them for crossvalidate.folds {config.folds}; add examples, lower it, or set "
            "crossvalidate.kind: plain"
        )


def _divided(rows: Rows, some: np.ndarray, count: int, config: Config) -> np.ndarray:
    """The part, int64 below `count`, of each of some rows, given by their numbers.

    Stratified by units costs a third of a millisecond a unit. So single rows of large classes, which are most of most
    tables, are stratified by themselves, but for some that balance the others.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    groups, units = rows.groups[some], rows.units[some]
    found = np.empty(len(some), np.int64)
    settings = {"n_splits": count, "shuffle": True, "random_state": config.seed}
    if config.kind == "plain":
        alone, together = np.zeros(len(some), bool), GroupKFold(**settings)
    else:
        alone, together = _easy(groups, units, count), StratifiedGroupKFold(**settings)
    with warnings.catch_warnings():  # of a small class `_require_enough` and `_require_all` have the last word
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for splitter, chosen in ((together, ~alone), (StratifiedKFold(**settings), alone)):
            mine = np.flatnonzero(chosen)
            if len(mine):
                theirs = units[mine] if splitter is together else None
                split = splitter.split(np.zeros(len(mine)), groups[mine], theirs)
                for number, (_, test) in enumerate(split):
                    found[mine[test]] = number
    return found


def _easy(groups: np.ndarray, units: np.ndarray, count: int) -> np.ndarray:
    """Single rows of classes that have many, without the first of each class, bool [N]."""
    single = np.flatnonzero(np.bincount(units)[units] == 1)
    ordered = single[np.argsort(groups[single], kind="stable")]
    kinds = groups[ordered]
    place = np.arange(len(ordered)) - np.searchsorted(kinds, kinds, side="left")
    many = np.bincount(kinds, minlength=1)[kinds] >= 2 * BALANCING * count
    found = np.zeros(len(groups), bool)
    found[ordered[many & (place >= BALANCING * count)]] = True
    return found


def fold(rows: Rows, found: np.ndarray, number: int, share: float, config: Config, place: str) -> np.ndarray:
    """Each row's side in a fold, int8 [N]: part `number` is TEST, about `share` of the rest VALIDATION; or OUT.

    Raises: DataError for a class that a side lacks.
    """
    sided = np.where(found == OUT, OUT, np.where(found == number, TEST, TRAIN)).astype(np.int8)
    rest = np.flatnonzero(sided == TRAIN)
    most = len(np.unique(rows.units[rest]))  # parts that a splitter makes of them
    if config.kind == "stratified":
        most = min(most, int(np.bincount(rows.groups[rest]).max()))
    if most < 2:
        raise DataError(
            f"{place}: found too few examples outside the test part of fold {number + 1} of {config.folds}; expected 2 "
            f"or more that may stand apart, for train and validation; {WAY}"
        )
    divided = _divided(rows, rest, max(2, min(round(1 / share), most)), config)
    there = np.unique(divided)  # of few units some parts may be empty
    # Not always part 0: there the splitter puts the unit with the most uneven classes, which none would then train on.
    sided[rest[divided == there[number % len(there)]]] = VALIDATION
    _complete(rows, sided)
    for side, name in enumerate(artifacts.SPLITS):
        _require_all(rows, sided == side, f"{place}: {name} of fold {number + 1} of {config.folds}")
    return sided


def _complete(rows: Rows, sided: np.ndarray) -> None:
    """Moves to validation the smallest unit of train of each class that is not there yet, where train keeps another."""
    for number in np.flatnonzero(rows.counts(sided == VALIDATION) == 0):
        train = sided == TRAIN
        there = np.unique(rows.units[train & rows.having[:, number]])
        if len(there) > 1:
            smallest = there[np.bincount(rows.units[train])[there].argmin()]
            sided[train & (rows.units == smallest)] = VALIDATION


def _require_all(rows: Rows, some: np.ndarray, place: str) -> None:
    if not some.any():
        raise DataError(f"{place}: found no example; expected some; lower crossvalidate.folds, or add examples")
    lacking = [rows.names[k] for k in np.flatnonzero(rows.counts(some) == 0)]
    if lacking:
        raise DataError(f"{place}: found no example of {', '.join(lacking[:5])}; expected some of each; {WAY}")
