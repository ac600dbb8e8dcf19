"""Which numeric precisions a device supports natively, and which it only emulates.

A device without bf16 or fp16 instructions still runs them, several times slower than fp32.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["fp32", "bf16", "fp16"]

CPU_INFO = Path("/proc/cpuinfo")
CPU_FLAGS: dict[Precision, frozenset[str]] = {
    "bf16": frozenset({"avx512_bf16", "amx_bf16"}),
    "fp16": frozenset({"avx512_fp16", "amx_fp16"}),
}
"""Precision -> flags in `/proc/cpuinfo`, any of which means native matrix products in it."""
CUDA_CAPABILITY: dict[Precision, tuple[int, int]] = {"bf16": (8, 0), "fp16": (5, 3)}
"""Precision -> the first CUDA compute capability with arithmetic in it."""


def cpu_flags(info: Path = CPU_INFO) -> frozenset[str]:
    """The instruction sets of the CPU as Linux reports them; empty elsewhere, and on ARM.

    torch has public functions for these in its newest releases only, and the kernel's list omits
    what it does not let a process use, such as AMX.
    """
    with contextlib.suppress(OSError):
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "flags":
                return frozenset(value.split())
    return frozenset()


def native_to_cpu(flags: Iterable[str]) -> frozenset[Precision]:
    """The native precisions of a CPU with these instruction sets."""
    present = frozenset(flags)
    return frozenset({"fp32", *(name for name, any_of in CPU_FLAGS.items() if any_of & present)})


def native_to_cuda(capability: tuple[int, int]) -> frozenset[Precision]:
    """The native precisions of a GPU of this compute capability."""
    able = (name for name, needed in CUDA_CAPABILITY.items() if capability >= needed)
    return frozenset({"fp32", *able})


def native(device: "torch.device") -> frozenset[Precision]:
    """The native precisions of a device of this machine; fp32 only if it is unknown."""
    if device.type == "cuda":
        import torch

        return native_to_cuda(torch.cuda.get_device_capability(device))
    return native_to_cpu(cpu_flags()) if device.type == "cpu" else frozenset({"fp32"})


def fastest(able: frozenset[Precision]) -> Precision:
    """What `engine.precision=auto` chooses: bf16 where it is native, fp32 elsewhere.

    Never fp16, which needs loss scaling.
    """
    return "bf16" if "bf16" in able else "fp32"
