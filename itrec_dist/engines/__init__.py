"""The engines: one file each, behind the protocol of `engine.py`.

A new engine is a file, its name in `EngineName` and its line in `KINDS`. Only the chosen engine is
imported.
"""

from collections.abc import Callable

from itrec_dist.engines.engine import EngineConfig, EngineKind


def _single() -> EngineKind:
    from itrec_dist.engines.single import SingleEngine

    return SingleEngine


def _ddp() -> EngineKind:
    from itrec_dist.engines.ddp import DDPEngine

    return DDPEngine


def _deepspeed() -> EngineKind:
    from itrec_dist.engines.deepspeed import DeepSpeedEngine

    return DeepSpeedEngine


def _fsdp() -> EngineKind:
    from itrec_dist.engines.fsdp import FSDPEngine

    return FSDPEngine


KINDS: dict[str, Callable[[], EngineKind]] = {
    "single": _single, "ddp": _ddp, "deepspeed": _deepspeed, "fsdp": _fsdp,
}  # fmt: skip


def kind_of(engine: EngineConfig, num_workers: int) -> EngineKind:
    """The class of the chosen engine; `auto` depends on the number of workers."""
    name = engine.name
    if name == "auto":
        name = "ddp" if num_workers > 1 else "single"
    return KINDS[name]()
