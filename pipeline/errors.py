"""Every error that a user can meet.

PipelineError            exit code 2 unless a subclass says otherwise
├── ConfigError          params.yaml names something impossible
├── DataError            the data cannot be used as they are
│   └── ChangingError    they changed while they were read: to run again may do (exit code 5)
├── BudgetError          no variant keeps what compress.budget asks for (exit code 4)
├── TrainingError        training diverged (exit code 3)
│   └── ExhaustedError   a batch does not fit into the memory of one of several ranks
├── StoppedError         training was asked to stop, and left a checkpoint (exit code 143, as SIGTERM has it)
└── RegistryError        the model registry refuses or disagrees

A message reads `place: found; expected; the way out`, on one line; lines to be pasted into a file follow it.
"""


class PipelineError(Exception):
    exit_code = 2


class ConfigError(PipelineError):
    pass


class DataError(PipelineError):
    pass


class ChangingError(DataError):
    exit_code = 5


class BudgetError(PipelineError):
    exit_code = 4


class TrainingError(PipelineError):
    exit_code = 3
    certain = True  # False where another rank may know the cause


class ExhaustedError(TrainingError):
    pass


class StoppedError(PipelineError):
    exit_code = 143


class RegistryError(PipelineError):
    pass
