"""What training says of itself: its curves, whether it over- or underfits, its range test, and its network's layers."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline import charts

OVERFITTED = 0.25
"""Share of the loss on validation that is missing on train from which on a net is said to overfit."""
RISEN = 0.05
"""Share by which the validation loss rises after the best epoch from which on a net is said to overfit."""
AGAINST = (
    "Try more data, augmentation, more dropout or weight decay, mixup, label smoothing, a smaller net, or weights that "
    "were trained before."
)
UNLEARNT = 0.5
"""Share of the loss of who knows the classes' shares alone, left on train, from which on a net is said to underfit."""


def words(judged: Mapping[str, Mapping[str, float]], best_epoch: int, history: Any) -> str:
    """Whether training over- or underfits, by what gap, and what to try.

    judged: as model.json has it: the same measure of train, without augmentation, and of validation, by the weights
    that were kept. history: a table with columns train_loss and validation_loss.
    """
    epochs = len(history)
    train, validation = judged["train"], judged["validation"]
    gap = validation["loss"] - train["loss"]
    said = (
        f"Epoch {best_epoch} of {epochs} was the best. Its loss is {train['loss']:.3f} on examples of train and "
        f"{validation['loss']:.3f} on validation: a gap of {gap:.3f}{_measured(train, validation)}. "
    )
    if gap > OVERFITTED * validation["loss"]:
        return said + "It overfits. " + AGAINST
    if risen := _risen(history, best_epoch):
        return said + (
            f"After it the training loss fell on and the validation loss rose by {risen:.0%}: it overfits from there, "
            "and what was learnt later was not kept. " + AGAINST
        )
    if best_epoch == epochs:
        return said + "It was still improving when it stopped. Try more epochs or a higher learning rate."
    if train["loss"] > UNLEARNT * judged["ignorant"]["loss"]:
        return said + (
            f"It underfits: who knows no more than how frequent each answer is has {judged['ignorant']['loss']:.3f}. "
            "Try a larger net, a higher learning rate, less dropout, weight decay or augmentation, or longer training."
        )
    return said + "Neither over- nor underfitting stands out."


def _risen(history: Any, best_epoch: int) -> float:
    """By what share the validation loss rose from the best epoch to the last while the training loss fell; or 0."""
    best, last = history.iloc[best_epoch - 1], history.iloc[-1]
    risen = last["validation_loss"] / best["validation_loss"] - 1 if best["validation_loss"] > 0 else 0.0
    return float(risen) if risen > RISEN and last["train_loss"] < best["train_loss"] else 0.0


def _measured(train: Mapping[str, float], validation: Mapping[str, float]) -> str:
    """The measure that people read, of both."""
    for name, text in (("macro_f1", "macro-F1"), ("r2", "R²")):
        if name in validation:
            return f" ({text} {train[name]:.3f} and {validation[name]:.3f})"
    return ""


def curves(history: Any) -> str:
    """Training and validation loss over the epochs, and the learning rate below, as SVG.

    Training's is as trained on: weighted, smoothed, mixed and augmented; validation's is plain.
    history: a table with columns epoch, train_loss, validation_loss and learning_rate.
    """
    figure, axes = charts.axes()
    axes.plot(history["epoch"], history["train_loss"], color=charts.BLUE, label="training, as augmented")
    axes.plot(history["epoch"], history["validation_loss"], color=charts.RED, label="validation")
    best = history.loc[history["validation_loss"].idxmin()]
    axes.plot(best["epoch"], best["validation_loss"], "o", color=charts.RED, label="best")
    rates = axes.twinx()
    rates.plot(history["epoch"], history["learning_rate"], color=charts.GREY, linewidth=0.8, linestyle=":")
    rates.set(ylabel="learning rate, dotted", ylim=(0, None))
    rates.spines["top"].set_visible(False)
    rates.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    axes.set(xlabel="epoch", ylabel="loss")
    axes.legend(frameon=False)
    return charts.svg(figure)


def range_test(found: Any, rate: float) -> str:
    """The loss at each learning rate of a range test, and the rate that was taken, as SVG.

    found: a table with columns learning_rate and loss.
    """
    figure, axes = charts.axes()
    axes.plot(found["learning_rate"], found["loss"], color=charts.BLUE)
    axes.axvline(rate, color=charts.RED, linewidth=1, label=f"taken: {rate:g}")
    axes.set_xscale("log")
    low, high = found["loss"].min(), found["loss"].iloc[0]
    margin = (high - low) or 1
    axes.set(xlabel="learning rate", ylabel="loss, smoothed", ylim=(low - 0.1 * margin, high + 0.5 * margin))
    axes.legend(frameon=False)
    return charts.svg(figure)


def layer_rows(layers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The layers of model.json, for a table."""
    return [
        {
            "name": layer["name"] or "(the whole)",
            "kind": layer["kind"],
            "shape": " × ".join(map(str, layer["shape"])),
            "parameters": f"{layer['parameters']:,}",
            "multiply_adds": f"{layer['multiply_adds']:,}",
        }
        for layer in layers
    ]


def _many(count: int) -> str:
    """A count in millions, or in thousands below one."""
    return f"{count / 1e6:,.1f} million" if count >= 1e6 else f"{count / 1e3:,.1f} thousand"


def described(model: Mapping[str, Any], history: Any, tested: Any) -> dict[str, Any]:
    """What the page says of a task's training. tested: the table of a range test, or None."""
    return {
        "curves": curves(history),
        "words": words(model["judged"], model["best_epoch"], history),
        "range_test": None if tested is None else range_test(tested, model["learning_rate"]),
        "choices": model["choices"],
        "layers": layer_rows(model["layers"]),
        "parameters": f"{model['parameters']:,}",
        "multiply_adds": _many(model["multiply_adds"]),
        "name": model["name"],
    }
