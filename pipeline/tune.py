"""Stage tune: the values that train uses; for now those of params.yaml, resolved."""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline import artifacts, stage
from pipeline.config import Task, setting
from pipeline.errors import ConfigError
from pipeline.fit import settings
from pipeline.initial import pins


@dataclass(frozen=True)
class Config:
    trials: int = setting(0, low=0, unit="trials of a search")


def tune(task: Task, config: Config) -> dict[str, Any]:
    """The whole of the sections `model` and `train`, and what weights and teacher they name.

    Raises: ConfigError for a search, which is yet to come, and what `pins.pinned` raises.
    """
    if config.trials:
        raise ConfigError(
            f"{task.where}.tune.trials: found {config.trials}; expected 0: search comes with a later version"
        )
    module, parsed = task.named("model", "models")
    if hasattr(module, "resolved"):  # finds what it reads elsewhere, by whose digest train then knows it
        parsed = module.resolved(parsed)
    model, train = {"name": task.raw["model"]["name"], **asdict(parsed)}, task.section("train", settings.Config)
    return {"model": model, "train": asdict(train), "pins": pins.pinned(train, model, f"{task.where}.train")}


def main(task: Task) -> None:
    values = tune(task, task.section("tune", Config))
    with artifacts.fresh(artifacts.folder("tuned", task.name)) as out:
        artifacts.write_json(out / "values.json", values)


if __name__ == "__main__":
    stage.run("tune", main)
