"""Everything that is timed, in one run: the loop under each engine, the feed, checkpoints, the GPU.

    python jobs/benchmarks/speed.py --shards SHARDS --out jobs/benchmarks/results/speed.md

Each part compares ways that take turns in the same run, and prints ratios. Run it on a machine
with nothing else to do; SHARDS are the windows of MovieLens-1M for the figures that are published.
"""

import sys
import tempfile
from pathlib import Path
from typing import Literal

import checkpoint_cost
import feed_cost
import gpu_cost
import loop_cost
import scaling_cost
import torch
from measuring import machine, table, take_turns

from itrec_dist import config
from itrec_dist.config.shipped_files import recipe
from itrec_dist.storage import atomic

Part = Literal["loop", "scaling", "feed", "checkpoints", "gpu"]
PARTS: tuple[Part, ...] = ("loop", "scaling", "feed", "checkpoints", "gpu")


def loop(settings: list[str], rounds: int, epochs: int) -> list[str]:
    """The loop under each engine."""
    rates = take_turns(loop_cost.ways(settings, str(recipe("paper"))), rounds)
    return [
        "## The loop",
        "",
        f"Recipe paper.yaml (width 64, batch 256, bf16), one thread a worker; {rounds} turns of "
        f"{epochs} epochs, the first {loop_cost.START_UP} of each not counted.",
        "",
        *table(rates, "bare", loop_cost.TARGETS, "windows/s"),
    ]


def scaling(settings: list[str], rounds: int, epochs: int) -> list[str]:
    """What a second process brings on this machine, without anything of ours."""
    rates = take_turns(scaling_cost.ways(settings, str(recipe("paper"))), rounds)
    return [
        "## Two processes without Ray",
        "",
        f"The bare loop of the same recipe, one thread a process; {rounds} turns of {epochs} "
        f"epochs, the first {loop_cost.START_UP} of each not counted; two processes added up.",
        "",
        *table(rates, f"one process, batch {scaling_cost.BATCHES[0]}", {}, "windows/s"),
        "",
        scaling_cost.exchange(floats=182_245),  # the weights of the recipe
    ]


def feed(shards: Path, rounds: int) -> list[str]:
    """The feed without a model."""
    rates = take_turns(feed_cost.ways(shards, batch_size=512), rounds)
    return [
        "## The feed alone",
        "",
        f"Batches of 512 windows, no model; {rounds} turns, one pass each.",
        "",
        *table(rates, "raw", feed_cost.TARGETS, "windows/s"),
    ]


def gpu(shards: Path, scratch: Path) -> list[str]:
    """What the accelerator makes of the paper's encoder."""
    if not torch.cuda.is_available():
        return ["## The accelerator", "", "There was none on this machine."]
    settings = [f"shards={shards}", f"out={scratch / 'run'}"]
    device, paper = torch.device("cuda", 0), str(recipe("paper"))
    lines = [
        "## The accelerator",
        "",
        "| engine.compile | windows/s | model FLOP/s of the measured matrix rate | device busy | "
        "peak memory |",
        "|---|---:|---:|---:|---:|",
    ]
    for mode, speed in gpu_cost.speeds(settings, paper, device).items():
        lines.append(
            f"| {mode} | {speed.windows_per_second:,.0f} | {speed.flops_share:.2%} | "
            f"{speed.busy_share:.0%} | {speed.peak_mib:,.0f} MiB |"
        )
    seconds = gpu_cost.wall_seconds(settings, paper)
    met = "met" if seconds < gpu_cost.TARGET_SECONDS else "missed"
    return [
        *lines,
        "",
        f"30 epochs with judgements and checkpoints, after the start-up: {seconds:.1f} s "
        f"(target < {gpu_cost.TARGET_SECONDS:.0f} s on one H100: {met}).",
    ]


def main() -> None:
    """Measure what was asked for and write the page."""
    options = config.Parser("speed.py", __doc__ or "")
    options.add_argument("--shards", type=Path, required=True, help="Shards to train on.")
    options.add_argument("--out", type=Path, required=True, help="Markdown page to write.")
    options.add_argument("--parts", type=list[Part], default=list(PARTS), help="What to time.")
    options.add_argument("--rounds", type=int, default=2, help="Turns of each way.")
    options.add_argument("--epochs", type=int, default=8, help="Epochs per turn of the loop.")
    given = options.parse(sys.argv[1:])
    shards = given.shards.absolute()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        settings = [
            f"shards={shards}", f"out={scratch / 'run'}", f"training.epochs={given.epochs}",
            "evaluation.train_sample=0", "cluster.threads=1",
        ]  # fmt: skip
        measured = {
            "loop": lambda: loop(settings, given.rounds, given.epochs),
            "scaling": lambda: scaling(settings, given.rounds, given.epochs),
            "feed": lambda: feed(shards, given.rounds + 1),
            "checkpoints": lambda: checkpoint_cost.lines(shards, scratch, given.rounds),
            "gpu": lambda: gpu(shards, scratch),
        }
        parts = [measured[part]() for part in PARTS if part in given.parts]
    command = "    python jobs/benchmarks/speed.py --shards SHARDS --out THIS_FILE"
    head = ["# Speed", "", command, "", f"{machine()}."]
    text = "\n\n".join("\n".join(lines) for lines in [head, *parts]) + "\n"
    atomic.write_text(given.out, text)
    print(text)


if __name__ == "__main__":
    main()
