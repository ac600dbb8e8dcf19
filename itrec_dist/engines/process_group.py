"""The process group of an engine that needs one although it works alone."""

import atexit
import warnings

import torch
import torch.distributed as dist


def ensure(device: torch.device) -> None:
    """Set up a group of this one process, unless whoever started it has set up one."""
    # Torch's FSDP and DeepSpeed call collectives by names that torch 2.13 warns of.
    warnings.filterwarnings(
        "ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning,
        r"torch\.distributed\.c10d_logger",
    )  # fmt: skip
    if dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    # A store in memory: nothing listens on a port for peers that never come.
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    atexit.register(_leave)


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
