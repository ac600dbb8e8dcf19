"""What an accelerator makes of the paper's encoder: rates, model FLOP/s used, memory, wall time.

Small encoders are bound by the launching of kernels, not by arithmetic: beside the rates of eager
mode, torch.compile and CUDA graphs stand the share of the time in which the device computes at
all, and the FLOP/s that the model needs over those that the card reaches in one large matrix
product of the same type, measured here.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from itrec_dist import config
from itrec_dist.data import feeds, manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.batches import Share
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.engines.single import SingleEngine
from itrec_dist.launch.start import train
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.system.arithmetic import fastest, native
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.config import RunConfig
from itrec_dist.training.loop import train_step
from itrec_dist.training.precision import with_precision

TARGET_SECONDS = 10.0  # 30 epochs of the paper's encoder on MovieLens-1M, after the start-up

_MODES = ("none", "default", "cuda_graphs")
_WARM_UP, _STEPS, _PROFILED = 30, 300, 50


@dataclass(frozen=True)
class Speed:
    """How one mode ran."""

    windows_per_second: float
    flops_share: float
    """Model FLOP/s over the card's measured matrix rate."""
    busy_share: float
    """Share of the wall time in which a kernel ran."""
    peak_mib: float


def matrix_rate(device: torch.device, dtype: torch.dtype, size: int = 8192) -> float:
    """FLOP/s of one square matrix product, the best of five."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        _wait(device)
        started = time.perf_counter()
        _ = a @ b
        _wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


def speeds(settings: Sequence[str], recipe: str, device: torch.device) -> dict[str, Speed]:
    """Every mode's speed on `device`."""
    run = _settled(config.load(RunConfig, recipe, settings), device)
    kind = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(run.engine.precision, torch.float32)
    peak_rate = matrix_rate(device, kind, 8192 if device.type == "cuda" else 1024)
    modes = _MODES if device.type == "cuda" else _MODES[:1]
    return {mode: _speed(settings, recipe, mode, device, peak_rate) for mode in modes}


def _settled(run: RunConfig, device: torch.device) -> RunConfig:
    return with_precision(run, fastest(native(device)))


def _speed(
    settings: Sequence[str], recipe: str, mode: str, device: torch.device, peak_rate: float
) -> Speed:
    run = _settled(config.load(RunConfig, recipe, [*settings, f"engine.compile={mode}"]), device)
    described = manifest.read(run.shards)
    torch.set_num_threads(1)
    windows = read_split(run.shards, described, "train")
    torch.manual_seed(run.seed)
    spec = data_spec.build(described, reader.read_items(run.shards, described))
    task = NextItems(run.model, run.loss, spec)
    size = run.training.batch_size
    feed = feeds.cached(windows, Share(size), device)
    engine = SingleEngine(task, run.engine, run.optimizer, 10**6, device)
    engine.train(True)
    held = list(feed.epoch((0, 1)))[: -1 if len(windows) % size else None]
    flops = _flops(engine, held[0])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)

    def steps(count: int) -> float:
        _wait(device)
        started = time.perf_counter()
        for i in range(count):
            train_step(engine, held[i % len(held)])
        _wait(device)
        return (time.perf_counter() - started) / count

    steps(_WARM_UP)
    seconds = steps(_STEPS)
    activity = ProfilerActivity.CUDA if device.type == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as profiled:
        wall = steps(_PROFILED) * _PROFILED
    busy = sum(event.self_device_time_total for event in profiled.key_averages()) / 1e6
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
    return Speed(size / seconds, flops / seconds / peak_rate, busy / wall, peak)


def _flops(engine: SingleEngine, batch: feeds.Batch) -> float:
    """Operations of one step's matrix products, forward and backward, counted by torch."""
    with FlopCounterMode(display=False) as counter:
        train_step(engine, batch)
    return float(counter.get_total_flops())


def wall_seconds(settings: Sequence[str], recipe: str) -> float:
    """From the first step to the end of 30 epochs with their judgements and checkpoints."""
    run = config.load(RunConfig, recipe, [*settings, "training.epochs=30"])
    train(run, local=True, existing="overwrite")
    events = RunDirectory(run.out).events()
    marks = {event["event"]: event["time"] for event in events}
    return float(marks["end"] - marks["start"])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
