"""What the training loop costs: a bare PyTorch loop against `itrec train`, local and through Ray.

    python jobs/benchmarks/loop_cost.py --shards SHARDS --out jobs/benchmarks/results/loop_cost.md

The bare loop holds the windows as in-memory tensors and knows nothing of engines, feeds, logs or
checkpoints; it trains the same model with the same batch, optimiser, precision and threads. The
three take turns in one run, and a ratio is that of the medians over all epochs but each turn's
first two: Ray starts processes for a while after the first step. Only training is timed, on both
sides; judging and checkpoints stand between the epochs.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from itrec_dist import arrays, config, dataspec, environment, manifest, outputs
from itrec_dist.commands.train import train
from itrec_dist.optim import build_optimizer, build_schedule
from itrec_dist.resources import recipe
from itrec_dist.run import RunConfig
from itrec_dist.run_directory import RunDirectory
from itrec_dist.schema import Batch
from itrec_dist.tasks.next_items import NextItems

_START_UP = 2  # epochs of each turn that do not count

TARGETS = {"local": 0.95, "ray": 0.90}


def bare(run: RunConfig) -> list[float]:
    """Windows per second of each epoch of the plainest loop that trains the same model."""
    torch.set_num_threads(run.cluster.threads or torch.get_num_threads())
    data = manifest.read(run.shards)
    windows = arrays.read_split(run.shards, data, "train")
    spec = dataspec.build(data, arrays.read_items(run.shards, data))
    torch.manual_seed(run.seed)
    model = NextItems(run.model, run.loss, spec)
    items = torch.from_numpy(windows.item_ids.copy())
    ratings = torch.from_numpy(windows.ratings.copy())
    users = torch.from_numpy(windows.user_features.copy())
    targets = torch.from_numpy(windows.target_ids.copy())
    size, epochs = run.training.batch_size, run.training.epochs
    optimizer = build_optimizer(run.optimizer, model)
    schedule = build_schedule(run.optimizer, optimizer, -(-len(windows) // size) * epochs)
    weight, empty = torch.ones(size), torch.zeros(size, dtype=torch.int64)
    rates = []
    for _ in range(epochs):
        started = time.monotonic()
        order = torch.randperm(len(windows))
        for start in range(0, len(windows), size):
            rows = order[start : start + size]
            batch = Batch(
                empty, empty, users[rows], items[rows], ratings[rows], targets[rows],
                ratings[:0], weight, float(len(rows)),
            )  # fmt: skip
            with torch.autocast("cpu", torch.bfloat16, enabled=run.engine.precision == "bf16"):
                loss = model(batch).loss_B.mean()
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
        rates.append(len(windows) / (time.monotonic() - started))
    return rates


def ours(run: RunConfig, *, local: bool) -> list[float]:
    """Windows per second of each epoch of `itrec train`."""
    train(run, local=local, existing="overwrite")
    return [event["windows_per_second"] for event in RunDirectory(run.out).events("epoch")]


def measure(run: RunConfig, rounds: int) -> dict[str, list[float]]:
    """Epoch rates of each way, the first ones left out, the ways taking turns."""
    rates: dict[str, list[float]] = {"bare": [], "local": [], "ray": []}
    for _ in range(rounds):
        rates["bare"] += bare(run)[_START_UP:]
        rates["local"] += ours(run, local=True)[_START_UP:]
        rates["ray"] += ours(run, local=False)[_START_UP:]
    return rates


def page(rates: dict[str, list[float]], run: RunConfig, rounds: int) -> str:
    """The results as Markdown."""
    machine = environment.record(run.seed)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    lines = [
        "# The cost of the training loop",
        "",
        "    python jobs/benchmarks/loop_cost.py --shards SHARDS --out THIS_FILE",
        "",
        f"{machine['cpu']}, {run.cluster.threads} thread; commit {machine['git']['commit'][:12]}; "
        f"{rounds} turns of {run.training.epochs} epochs, batch {run.training.batch_size}, width "
        f"{run.model.width}, {run.engine.precision}; recipe paper.yaml.",
        "",
        "| way | windows/s, median | lowest - highest | ratio to bare | target |",
        "|---|---:|---:|---:|---:|",
    ]
    for way, values in rates.items():
        target = f">= {TARGETS[way]:.2f}" if way in TARGETS else ""
        lines.append(
            f"| {way} | {medians[way]:,.0f} | {min(values):,.0f} - {max(values):,.0f} | "
            f"{medians[way] / medians['bare']:.3f} | {target} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the page."""
    options = config.Parser("loop_cost.py", __doc__ or "")
    options.add_argument("--shards", type=Path, required=True, help="Shards to train on.")
    options.add_argument("--out", type=Path, required=True, help="Markdown page to write.")
    options.add_argument("--rounds", type=int, default=2, help="Turns of each way.")
    options.add_argument("--epochs", type=int, default=8, help="Epochs per turn; two do not count.")
    given = options.parse(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        run = config.load(
            RunConfig,
            recipe("paper"),
            [
                f"shards={given.shards.absolute()}",
                f"out={folder}/run",
                f"training.epochs={given.epochs}",
                "evaluation.train_sample=0",
                "cluster.threads=1",
            ],
        )
        rates = measure(run, given.rounds)
    text = page(rates, run, given.rounds)
    outputs.write_text(given.out, text)
    print(text)


if __name__ == "__main__":
    main()
