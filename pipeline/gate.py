"""What is served: the smallest variant that keeps the budget and is faster, or fp32; and why not each of the others."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline import metrics
from pipeline.budget import Limits
from pipeline.errors import BudgetError
from pipeline.metrics import Interval

STORED = 0.5
"""Share of a graph's weights that must be stored as its scheme says: the rest may have no such form."""
LARGER, CONSTANTS = 1.1, 5_000
"""Times a network's weights, and so many constants more, that its graph may hold."""


@dataclass
class Variant:
    """One network in one scheme, as compress.json has it."""

    network: str  # trained, control, pruned_1, …
    scheme: str
    engine: str
    bytes: int
    numbers: int  # its parameters and buffers
    validation: dict[str, float]
    agreement: float  # with the trained network's answers
    reference: str  # whose quality it is to keep: a network that was trained as long
    drop: Interval | None = None  # of the headline against the reference
    class_drops: dict[str, Interval] = field(default_factory=dict)
    latency_ms: dict[str, dict[str, float]] = field(default_factory=dict)  # by batch size: median, p95
    memory: int | None = None  # bytes that a fresh process takes more
    rejected: list[str] = field(default_factory=list)
    pareto: bool = False
    out_of_fold: "OutOfFold | None" = None  # where the folds judged it

    @property
    def lossless(self) -> bool:
        """Whether it is the trained network itself."""
        return self.network == "trained" and self.scheme == "fp32"

    def median(self, batch: int) -> float:
        return self.latency_ms[str(batch)]["median"]


@dataclass(frozen=True)
class OutOfFold:
    """What a variant loses that is made anew in every fold, on all rows that the folds hold out."""

    examples: int
    drop: Interval
    class_drops: dict[str, Interval]
    agreement: float
    limits: Limits  # for so many rows

    @property
    def among(self) -> str:
        return f" on {self.examples:,} rows out of fold"


def faults(graph: Path, stored: Collection[str], numbers: int) -> list[str]:
    """What is wrong with a graph, whatever it answers: bad scales, weights left in fp32, weights that were cut.

    stored: the types in which its scheme stores weights; none of fp32. numbers: of the network, with its buffers.
    """
    from pipeline import graphs

    found = []
    if bad := graphs.unsound(graph):
        found.append(f"scales that are no positive numbers: {', '.join(bad[:3])}")
    every, share = sum(graphs.numbers(graph).values()), graphs.share(graph, stored)
    if stored and share < STORED:
        found.append(f"{share:.1%} of its weights are {' or '.join(sorted(stored))}; expected {STORED:.0%} at least")
    if every > LARGER * numbers + CONSTANTS:
        found.append(f"it has {every:,} weights, where its network has {numbers:,}: it was exported at full size")
    return found


def keeps(variant: Variant | OutOfFold, limits: Limits, headline: str, among: str = "") -> list[str]:
    """The reasons of quality that speak against a variant, or against it in the folds. among: which rows say so."""
    found = []
    lower = "lower" if metrics.sign(headline) > 0 else "higher"
    if variant.drop is not None and not bound(variant.drop, limits) <= limits.max_drop:
        at = "" if limits.bound == "point" else f" at the upper end of its {limits.level:.0%} interval"
        lost = f"{headline} {bound(variant.drop, limits):.4f} {lower}{among}{at}"
        found.append(f"{lost}; at most {limits.max_drop:g} may be")
    for name, drop in variant.class_drops.items():
        if not drop.value <= limits.class_drops[name]:
            lost = f"recall of {name} {drop.value:.3f} lower{among}"
            found.append(f"{lost}; at most {limits.class_drops[name]:g} may be")
    if limits.disagreement is not None and 1 - variant.agreement > limits.disagreement:
        differ = f"{1 - variant.agreement:.1%} of its answers differ{among}"
        found.append(f"{differ}; at most {limits.disagreement:.1%} may")
    return found


def bound(drop: Interval, limits: Limits) -> float:
    """The figure of a drop that must keep the budget."""
    return drop.value if limits.bound == "point" else drop.high


def reject(variants: Mapping[str, Variant], limits: Limits, headline: str, min_speedup: float, batch: int) -> None:
    """Adds to each variant that could be served what speaks against it. `fp32` and `eager` are what it is held to."""
    fp32, eager = variants["fp32"], variants["eager"]
    for name, variant in variants.items():
        if variant.engine == "pytorch":
            continue
        variant.rejected += keeps(variant, limits, headline)
        if limits.bytes is not None and variant.bytes > limits.bytes:
            variant.rejected.append(f"{variant.bytes:,} bytes; at most {limits.bytes:,} may be")
        if not variant.latency_ms:
            continue
        if not fp32.latency_ms:
            variant.rejected.append(f"fp32, which it is held to, does not work: {'; '.join(fp32.rejected)}")
            continue
        faster, of_eager = (other.median(batch) / variant.median(batch) for other in (fp32, eager))
        if limits.speedup is not None and of_eager < limits.speedup:
            variant.rejected.append(f"{of_eager:.1f}× as fast as eager PyTorch; at least {limits.speedup:g}× is asked")
        same = variant.bytes == fp32.bytes and variant.engine != fp32.engine  # another engine may be worth it
        if name != "fp32" and variant.bytes >= fp32.bytes and not same:
            variant.rejected.append("no smaller than fp32")
        if name != "fp32" and faster < min_speedup:
            variant.rejected.append(f"{faster:.2f}× as fast as fp32; at least {min_speedup:g}× is asked")


def choose(variants: Mapping[str, Variant], limits: Limits, batch: int) -> str:
    """The smallest that nothing speaks against, which may be fp32.

    Raises: BudgetError with the nearest variant's figures where there is none: fp32 too is too slow or too large, or
    no graph works.
    """
    passing = [name for name, one in variants.items() if one.engine != "pytorch" and not one.rejected]
    if passing:
        return min(passing, key=lambda name: (variants[name].bytes, variants[name].median(batch), name))
    if not any(one.engine != "pytorch" and one.latency_ms for one in variants.values()):
        raise BudgetError(
            f"compress: found no graph that works, fp32 neither: {'; '.join(variants['fp32'].rejected)}; expected one; "
            "what is registered stays"
        )
    name = nearest(variants, limits, batch)
    one = variants[name]
    found = (
        f"{name}: {one.bytes:,} bytes, {variants['eager'].median(batch) / one.median(batch):.1f}× as fast as eager, "
        f"drop {one.drop.value if one.drop else 0:.4f}; against it: {'; '.join(one.rejected)}"
    )
    raise BudgetError(
        f"compress.budget: found no variant that keeps it, the nearest is {found}; expected one; loosen the budget, "
        "or give compress.prune.levels more; what is registered stays"
    )


def nearest(variants: Mapping[str, Variant], limits: Limits, batch: int) -> str:
    """The variant that could be served and lacks the least, each lack as a share of what is asked."""

    def lack(variant: Variant) -> float:
        over = _over(variant, limits)
        if variant.out_of_fold:
            over += _over(variant.out_of_fold, variant.out_of_fold.limits)
        if limits.bytes is not None:
            over.append(variant.bytes / limits.bytes - 1)
        if limits.speedup is not None:
            over.append(limits.speedup * variant.median(batch) / variants["eager"].median(batch) - 1)
        return sum(max(0.0, one) for one in over)

    timed = {name: one for name, one in variants.items() if one.engine != "pytorch" and one.latency_ms}
    return min(timed, key=lambda name: (lack(timed[name]), timed[name].bytes, name))


def _over(one: Variant | OutOfFold, limits: Limits) -> list[float]:
    """By how much each loss is above what is allowed, as a share of that."""
    over = [bound(one.drop, limits) / max(limits.max_drop, 1e-3) - 1] if one.drop else []
    over += [drop.value / max(limits.class_drops[name], 1e-3) - 1 for name, drop in one.class_drops.items()]
    if limits.disagreement is not None:
        over.append((1 - one.agreement) / max(limits.disagreement, 1e-3) - 1)
    return over


def reason(variants: Mapping[str, Variant], chosen: str, headline: str, limits: Limits, batch: int) -> str:
    """Why this one is served, in words."""
    one, fp32, eager = variants[chosen], variants["fp32"], variants["eager"]
    facts = f"{chosen}: {eager.median(batch) / one.median(batch):.1f}× as fast as eager PyTorch"
    if chosen == "fp32":
        others = [(name, other) for name, other in variants.items() if other.engine != "pytorch" and name != "fp32"]
        if not others:
            return f"{facts}; there is no other variant"
        name, other = min(others, key=lambda item: (len(item[1].rejected), item[1].bytes, item[0]))
        return f"{facts}; no smaller variant passes: against {name}, {' and '.join(other.rejected)}"
    lower, higher = ("lower", "higher") if metrics.sign(headline) > 0 else ("higher", "lower")
    drop, among = one.drop.value if one.drop else 0.0, " on validation"
    if one.out_of_fold:
        drop, among, limits = one.out_of_fold.drop.value, one.out_of_fold.among, one.out_of_fold.limits
    return (
        f"{facts}, {fp32.median(batch) / one.median(batch):.2f}× as fast and {fp32.bytes / one.bytes:.1f}× smaller "
        f"than fp32, {headline} {abs(drop):.4f} {lower if drop > 0 else higher}{among} than the "
        f"{one.reference} network; at most {limits.max_drop:g} {lower} was allowed"
    )


def needed(drop: Interval | None, limits: Limits, examples: int) -> int | None:
    """How many examples would let the upper end of the interval itself keep the budget, the drop being as measured.

    The interval narrows with the root of their number. None where the drop as measured is above the budget.
    """
    if drop is None or drop.value >= limits.max_drop:
        return None
    half = max(0.0, drop.high - drop.value)
    return math.ceil(examples * (half / (limits.max_drop - drop.value)) ** 2)


def mark_pareto(variants: Mapping[str, Variant], headline: str, batch: int) -> None:
    """Marks those to which no other is at least equal in size, latency and quality and better in one of them."""

    def figures(one: Variant) -> tuple[float, float, float]:
        return one.bytes, one.median(batch), -metrics.sign(headline) * one.validation[headline]

    timed = {name: figures(one) for name, one in variants.items() if one.engine != "pytorch" and one.latency_ms}
    for name, mine in timed.items():
        others: Sequence[tuple[float, float, float]] = [other for key, other in timed.items() if key != name]
        variants[name].pareto = not any(_beats(other, mine) for other in others)


def _beats(other: tuple[float, ...], mine: tuple[float, ...]) -> bool:
    return all(a <= b for a, b in zip(other, mine)) and any(a < b for a, b in zip(other, mine))
