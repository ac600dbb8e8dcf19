"""The exceptions a user can meet.

Each carries a single sentence: what was wrong, what was given, what is allowed and what to do next.
The command line prints that sentence and exits with code 2.

    ItrecError
    ├── ConfigError        a setting that is unknown, of the wrong type or impossible
    ├── DataError          raw input that cannot be used as given
    ├── ShardsError        a shards folder that is missing, damaged or does not fit the settings
    ├── CheckpointError    a run or checkpoint that cannot be loaded
    ├── OutputError        an output that cannot be written, or that already exists
    ├── TrainingError      training went wrong by itself (exit code 1)
    │   └── MachineError       its machines ended it, not its settings
    └── EnvironmentProblem something this machine lacks: network, memory, a device, a package

`assert` is reserved for our own invariants.
"""


class ItrecError(Exception):
    """Base of all errors a user can correct; the command line exits with `exit_code`."""

    exit_code = 2


class ItrecWarning(UserWarning):
    """Something doubtful that the library goes on with; the command line prints it."""


class ConfigError(ItrecError):
    """A setting is unknown, of the wrong type or impossible in combination."""


class DataError(ItrecError):
    """Raw input cannot be used as given."""


class ShardsError(ItrecError):
    """A shards folder is missing, damaged or does not fit the settings."""


class CheckpointError(ItrecError):
    """A run directory or checkpoint cannot be loaded."""


class OutputError(ItrecError):
    """An output cannot be written, or already exists."""


class EnvironmentProblem(ItrecError):
    """This machine lacks something: network, memory, a device, a package."""


class TrainingError(ItrecError):
    """Training went wrong by itself: a loss that is not finite, a worker that was lost."""

    exit_code = 1


class MachineError(TrainingError):
    """Workers were lost, or met an error of their system or its memory; no restart was left."""
