"""The exceptions a user can meet.

Every one of them carries a single sentence that says what was wrong, what was given, what is
allowed and what to do next. The command line prints that sentence and exits with code 2.

    ItrecError
    ├── ConfigError        a setting that is unknown, of the wrong type or impossible
    ├── DataError          raw input that cannot be used as given
    ├── ShardsError        a shards folder that is missing, damaged or of another shape
    ├── CheckpointError    a run or checkpoint that cannot be loaded
    ├── OutputError        a place that cannot be written, or that is already taken
    ├── TrainingError      training went wrong by itself (exit code 1)
    └── EnvironmentProblem something the machine lacks: network, memory, a device, a package

`assert` is kept for invariants of our own.
"""


class ItrecError(Exception):
    """Base of all mistakes a user can correct; `exit_code` is what the command line returns."""

    exit_code = 2


class ConfigError(ItrecError):
    """A setting is unknown, of the wrong type or impossible in combination."""


class DataError(ItrecError):
    """Raw input cannot be used as given."""


class ShardsError(ItrecError):
    """A shards folder is missing, damaged or of another shape than asked for."""


class CheckpointError(ItrecError):
    """A run directory or checkpoint cannot be loaded."""


class OutputError(ItrecError):
    """An output place cannot be written, or is already taken."""


class EnvironmentProblem(ItrecError):
    """The machine lacks something: network, memory, a device, a package."""


class TrainingError(ItrecError):
    """Training went wrong by itself: a loss that is not finite, a worker that was lost."""

    exit_code = 1
