"""Whether a new version becomes champion: the rule, the comparison on the same test set, and its record."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipeline import artifacts, metrics, targets
from pipeline.errors import RegistryError
from pipeline.targets import Answer, Target
from pipeline.tracking.registry import Models, Version

Promote = Literal["auto", "never"]


@dataclass(frozen=True)
class Measured:
    """A model's answers on a test set, in the order of its ids."""

    test: str  # one word for the ids, contents and labels
    ids: Sequence[str]
    labels: Sequence[str]
    answers: Sequence[Answer]
    target: Mapping[str, Any] | None = None  # as targets.record tells it, of all but classes


@dataclass(frozen=True)
class Decision:
    """What a version was given; `gain` is its lead over the champion, None when nothing was compared."""

    alias: str
    reason: str
    gain: metrics.Interval | None
    against: int | None


def test_key(ids: Sequence[str], contents: Sequence[str], labels: Sequence[str]) -> str:
    """One word for a test set: equal when ids, sha256 of contents and labels are, in whatever order."""
    lines = sorted("\t".join(row) for row in zip(ids, contents, labels, strict=True))
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogatepass")).hexdigest()


def stored(version: Version) -> Measured | None:
    """The answers that were logged with a version, or None where there are none."""
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        path = mlflow.artifacts.download_artifacts(f"{version.uri}/artifacts/measured.json")
        record = artifacts.read_json(Path(path))
        answers = [(text, numbers) for text, numbers in record["answers"]]
        return Measured(record["test"], record["ids"], record["labels"], answers, record.get("target"))
    except (MlflowException, OSError, ValueError, KeyError):
        return None


def champions_answers(version: Version, today: Measured, ask: Callable[[str], list[Answer]]) -> list[Answer]:
    """The champion's answers on today's test set: those on record where it was measured on the same one, else anew."""
    found = stored(version)
    if found is None or found.test != today.test:
        return ask(version.uri)
    by_id = dict(zip(found.ids, found.answers, strict=True))
    return [by_id[name] for name in today.ids]


def gain(today: Measured, champions: Sequence[Answer], metric: str) -> metrics.Interval:
    """The paired lead of today's answers over the champion's in `metric`, above 0 when today's are better.

    Raises: RegistryError for a champion that was asked for something else.
    """
    if today.target is not None:
        return _gain_of_numbers(today, champions, metric, targets.recorded(today.target))
    if any(isinstance(numbers, dict) or not text for text, numbers in champions):
        raise RegistryError("found labels or values as its answers; expected classes, as today")
    names = sorted({*today.labels, *(a[0] for a in today.answers), *(a[0] for a in champions)})
    column = {name: k for k, name in enumerate(names)}
    labels = np.array([column[label] for label in today.labels])

    def spread(answers: Sequence[Answer]) -> np.ndarray:
        """[N, K]: the answer's probability where it stands, the rest shared evenly."""
        given = np.array([p for _, p in answers], np.float64)
        rows = np.tile(((1 - given) / max(1, len(names) - 1))[:, None], len(names))
        rows = np.minimum(rows, 0.5 * given[:, None])  # the label stays the most probable
        rows[np.arange(len(answers)), [column[label] for label, _ in answers]] = given
        return rows

    target = Target("classes", tuple(names))
    return metrics.paired_gain(labels, spread(champions), spread(today.answers), metric, target)


def _gain_of_numbers(today: Measured, champions: Sequence[Answer], metric: str, target: Target) -> metrics.Interval:
    """Of several labels, of which each answer has its probability, or of a value."""
    of_labels = target.kind == "labels"
    if any(isinstance(numbers, dict) != of_labels or bool(text) > of_labels for text, numbers in champions):
        raise RegistryError(f"found other answers than of kind {target.kind}; expected the same, to compare them")
    truth = targets.numbers(today.labels, target)
    before, after = (targets.matrix(of, target) for of in (champions, today.answers))
    return metrics.paired_gain(truth, before, after, metric, target)


def decide(
    models: Models, version: Version, promote: Promote, compare: Callable[[Version], metrics.Interval]
) -> Decision:
    """The rule. `compare` is called only where there is a champion to beat."""
    champion = models.holder("champion")
    if champion is not None and champion.sha256 == version.sha256 and champion.here:
        if champion.number == version.number:
            return Decision("champion", "it is the champion already", None, None)
        return Decision(
            "champion", f"the same model as champion version {champion.number}, with newer serving code", None, None
        )
    if promote == "never":
        return Decision("challenger", "register.promote is never", None, None)
    if champion is None:
        return Decision("champion", "there was no champion", None, None)
    if not champion.here:
        return Decision("champion", f"the files of champion version {champion.number} are gone", None, champion.number)
    try:
        found = compare(champion)
    except RegistryError as error:
        reason = f"champion version {champion.number} cannot be compared with: {error}"
        return Decision("challenger", f"{reason}; to replace it, move the alias by hand", None, champion.number)
    lead = f"{found.value:+.4f} (95 %: {found.low:+.4f} to {found.high:+.4f}) over champion version {champion.number}"
    if found.low > 0:
        return Decision("champion", f"gain {lead}", found, champion.number)
    return Decision("challenger", f"no certain gain: {lead}", found, champion.number)


def apply(
    models: Models,
    find: Callable[[], Version],
    promote: Promote,
    compare: Callable[[Version], metrics.Interval],
    *,
    known_looks: int | None = None,
) -> tuple[Version, Decision, int]:
    """Registers the version (`find`), decides and moves the aliases, all under the registry's lock.

    known_looks: looks that a receipt already counts for this bundle, None where this decision is a new one.
    Returns: the version, the decision and how often the test set has been looked at.
    """
    with models.deciding() as deciding:
        version = find()
        decision = decide(models, version, promote, compare)
        facts: Mapping[str, Any] = {"sha256": version.sha256, "gain": asdict(decision.gain) if decision.gain else None}
        if decision.alias == "champion" and models.aliases().get("challenger") == version.number:
            deciding.drop("challenger", "it becomes champion")
        deciding.move(decision.alias, version, decision.reason, facts)
        new = known_looks is None and not deciding.seen(version.sha256)
        looks = deciding.conclude(version, looked=new, at_least=known_looks or 0)
        return version, decision, looks
