"""What the training loop costs: a bare PyTorch loop against `itrec train` under every engine.

The bare loop holds the windows as in-memory tensors and knows nothing of engines, feeds, logs or
checkpoints; it trains the same model with the same batch, optimiser, precision and threads. Only
training is timed, on both sides; judging and checkpoints stand between the epochs. The first two
epochs of a turn do not count: Ray starts processes for a while after the first step.
"""

import time
from collections.abc import Callable, Sequence

import torch
from measuring import Target, Way
from torch import nn

from itrec_dist import config
from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.engines.optimizers import build_optimizer, build_schedule
from itrec_dist.launch.start import train
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.system.arithmetic import fastest, native
from itrec_dist.tasks.next_items.task import NextItems
from itrec_dist.training.config import RunConfig
from itrec_dist.training.precision import with_precision

START_UP = 2  # epochs of each turn that do not count

TARGETS = {
    "local": Target("bare", 0.95),
    "ray, 1 worker": Target("bare", 0.90),
    "ray, 2 workers, ddp": Target("ray, 1 worker", 0.80, times=2),
    "ray, 2 workers, ddp, batch 1024": Target("ray, 1 worker, batch 1024", 0.80, times=2),
}

_ENGINES = {
    "ddp": [],
    "deepspeed 0": ["engine.name=deepspeed", "engine.deepspeed.stage=0"],
    "deepspeed 1": ["engine.name=deepspeed", "engine.deepspeed.stage=1"],
    "deepspeed 2": ["engine.name=deepspeed", "engine.deepspeed.stage=2"],
    "deepspeed 3": ["engine.name=deepspeed", "engine.deepspeed.stage=3"],
    "fsdp": ["engine.name=fsdp"],
}


def ways(settings: Sequence[str], recipe: str) -> dict[str, Way]:
    """Every way by name; `settings` are overrides that hold for all."""

    def run_of(*more: str) -> RunConfig:
        return config.load(RunConfig, recipe, [*settings, *more])

    def ours(*more: str, local: bool = False) -> Way:
        return lambda: _ours(run_of(*more), local=local)

    two, larger = "cluster.num_workers=2", "training.batch_size=1024"
    return {
        "bare": lambda: bare(run_of())[START_UP:],
        "local": ours(local=True),
        "ray, 1 worker": ours(),
        **{f"ray, 2 workers, {name}": ours(two, *given) for name, given in _ENGINES.items()},
        "ray, 1 worker, batch 1024": ours(larger),
        "ray, 2 workers, ddp, batch 1024": ours(two, larger),
    }


def bare(
    run: RunConfig, share: int = 1, wrap: Callable[[nn.Module], nn.Module] = lambda model: model
) -> list[float]:
    """Windows per second of each epoch of the plainest loop that trains the same model.

    With `share` it takes that part of a batch, as one of so many workers does; `wrap` is put around
    the model before its first step.
    """
    torch.set_num_threads(run.cluster.threads or torch.get_num_threads())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    data = manifest.read(run.shards)
    windows = read_split(run.shards, data, "train")
    spec = data_spec.build(data, reader.read_items(run.shards, data))
    torch.manual_seed(run.seed)
    precision = with_precision(run, fastest(native(device))).engine.precision
    model = wrap(NextItems(run.model, run.loss, spec).to(device))
    items = torch.from_numpy(windows.item_ids.copy()).to(device)
    ratings = torch.from_numpy(windows.ratings.copy()).to(device)
    users = torch.from_numpy(windows.user_features.copy()).to(device)
    targets = torch.from_numpy(windows.target_ids.copy()).to(device)
    size, epochs = run.training.batch_size // share, run.training.epochs
    optimizer = build_optimizer(run.optimizer, model)
    schedule = build_schedule(run.optimizer, optimizer, -(-len(windows) // size) * epochs)
    weight = torch.ones(size, device=device)
    empty = torch.zeros(size, dtype=torch.int64, device=device)
    rates = []
    for _ in range(epochs):
        started = time.monotonic()
        order = torch.randperm(len(windows), device=device)
        for start in range(0, len(windows), size):
            rows = order[start : start + size]
            batch = Batch(
                empty, empty, users[rows], items[rows], ratings[rows], targets[rows],
                ratings[:0], weight, float(len(rows)),
            )  # fmt: skip
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
                loss = model(batch).loss_B.mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(len(windows) / (time.monotonic() - started))
    return rates


def _ours(run: RunConfig, *, local: bool) -> list[float]:
    """Windows per second of each epoch of `itrec train`, without those of the start-up."""
    train(run, local=local, existing="overwrite")
    epochs = RunDirectory(run.out).events("epoch")
    return [event["windows_per_second"] for event in epochs[START_UP:]]
