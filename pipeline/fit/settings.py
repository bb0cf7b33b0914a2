"""The section `train`: how any network is trained. Nothing here imports torch, so that a check stays quick."""

from dataclasses import dataclass
from typing import Any, Literal

from pipeline.augmentation.settings import Images, Mixing
from pipeline.config import setting
from pipeline.initial.settings import Init, Teacher
from pipeline.optimizers import adamw
from pipeline.sampling import Sampling
from pipeline.schedules import cosine

Switch = Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Average:
    """The weights that are judged and kept: an average of those that training goes through."""

    kind: Literal["none", "ema", "swa"] = "none"
    decay: float = setting(0.999, low=0, below=1, unit="ema: share of the average that a step keeps")
    start: float = setting(0.75, low=0, below=1, unit="swa: share of the epochs before the first that is averaged")

    def before(self, epochs: int) -> int:
        """Epochs whose ends are no averages yet, and are not kept where one comes."""
        return min(round(self.start * epochs), epochs - 1) if self.kind == "swa" else 0


@dataclass(frozen=True)
class Texts:
    """What is done at random to each text of a train batch, in the order of the fields."""

    paraphrase: float = setting(0.0, low=0, high=1, unit="share of the texts that a paraphrase stands in for")
    shuffle: float = setting(0.0, low=0, high=1, unit="share of the texts whose clauses change places")
    synonyms: float = setting(0.0, low=0, high=1, unit="share of the words with synonyms that one stands in for")
    insertion: float = setting(0.0, low=0, high=1, unit="share of the words with synonyms of which one is put in")
    swap: float = setting(0.0, low=0, high=1, unit="share of the tokens that change places")
    deletion: float = setting(0.0, low=0, below=1, unit="share of the tokens that are left out, negators aside")
    unknown: float = setting(0.0, low=0, below=1, unit="share of the tokens that become the unknown one")


@dataclass(frozen=True)
class Freeze:
    """Layers that are not trained in the first epochs, so that a new head does not spoil what the others know."""

    epochs: int = setting(0, low=0, high=10_000, unit="epochs in which the head alone is trained")
    every: int = setting(1, low=1, high=10_000, unit="epochs after which one more stage is, from the head backwards")


@dataclass(frozen=True)
class Parallel:
    """Data parallelism: each process trains on its part of every batch."""

    processes: int = setting(1, low=1, high=1024, unit="ranks on this machine")
    restarts: int = setting(
        3, low=0, high=1000, unit="starts anew in a row, without a checkpoint in between, after a death"
    )
    patience: float = setting(600.0, low=10, high=86_400, unit="seconds without a step after which a run hangs")


@dataclass(frozen=True)
class Config:
    epochs: int = setting(30, low=1, high=10_000)
    batch_size: int | Literal["auto", "all"] = setting(
        64, low=1, high=10_000_000, unit="examples of all ranks together; all: the whole split; auto: what fits"
    )
    loss: Any = setting(None, folder="losses")  # null: by what the task's target is
    class_weights: Literal["none", "balanced"] | dict[str, float] = "none"  # balanced: by the train split's counts
    optimizer: Any = setting(adamw.Config(), folder="optimizers")
    schedule: Any = setting(cosine.Config(), folder="schedules")
    l1: float = setting(0.0, low=0, high=10, unit="times the sign of each weight, added to the gradient")
    gradient_norm: float | None = setting(5.0, above=0, unit="longer gradients are shortened to it; null: none is")
    patience: int = setting(10, low=1, high=10_000, unit="epochs without a better validation loss")
    average: Average = Average()
    images: Images = Images()
    mixing: Mixing = Mixing()  # of images with one another
    texts: Texts = Texts()
    vectors: Literal["off", "start", "fixed"] = "off"  # features' word vectors as a text model's embedding
    sampling: Sampling | dict[str, float] = "natural"  # of train; a mapping gives classes' weights, 1 where it has none
    init: Init = "random"  # pretrained: as torchvision publishes them
    teacher: Teacher | None = None
    freeze: Freeze = Freeze()
    layer_decay: float = setting(1.0, above=0, high=1, unit="rate of a stage by that of the one after it")
    seed: int = setting(0, low=0, high=2**32 - 1)
    threads: int | Literal["auto"] = setting(1, low=1, high=256, unit="CPU threads; other numbers round otherwise")
    filling: int | None = setting(None, low=1, high=256, unit="threads that fill image batches; null: by the cores")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Literal["auto", "off", "default", "reduce-overhead", "max-autotune"] = "auto"  # torch.compile's modes
    memory_format: Literal["auto", "channels_last", "contiguous"] = "auto"  # of images
    fused: Switch = "auto"  # the optimiser as one kernel
    accumulate: int = setting(1, low=1, high=65_536, unit="parts of a batch that are computed one after the other")
    recompute: Literal["auto", "off", "stages"] = "auto"  # stages: inner values are computed twice rather than kept
    checkpoint_minutes: float = setting(5.0, above=0, high=10_000, unit="minutes between checkpoints within an epoch")
    parallel: Parallel = Parallel()

    def __post_init__(self) -> None:
        many = self.parallel.processes
        if self.compile not in ("auto", "off") and self.recompute == "stages":
            raise ValueError(f"compile: found {self.compile} with recompute: stages; expected off or auto")
        if many == 1:
            return
        if isinstance(self.batch_size, int) and many > self.batch_size:
            raise ValueError(f"parallel.processes: found {many}; expected at most train.batch_size ({self.batch_size})")
        if self.compile in ("reduce-overhead", "max-autotune"):
            raise ValueError(f"compile: found {self.compile} with parallel.processes {many}; expected off or default")
