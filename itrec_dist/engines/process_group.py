"""The process group of an engine that needs one even with a single worker."""

import atexit
import warnings

import torch
import torch.distributed as dist


def ensure(device: torch.device) -> None:
    """Set up a group of this one process, unless the launcher has already set up one."""
    # Torch's FSDP and DeepSpeed call collectives by names that torch 2.13 deprecates.
    warnings.filterwarnings(
        "ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning,
        r"torch\.distributed\.c10d_logger",
    )  # fmt: skip
    if dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    # A store in memory, so that no port is opened.
    store = dist.HashStore()  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    atexit.register(_destroy)


def _destroy() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()
