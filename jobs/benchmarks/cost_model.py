"""What a run costs by the sizes of its data and model: fitted to measured points, and scaled up.

    python jobs/benchmarks/cost_model.py --points jobs/benchmarks/results/cost_points.csv

fits the processor seconds of each part of a run (windowing, feed, step, exchange, checkpoint) as a
sum of products of a coefficient that is not negative and a quantity that is counted; holds what is
predicted against the points that are `held out`; and says what a run takes on a cluster of GPUs.
There the parts of the processor keep their coefficients, and what a GPU and a network do is counted
and divided by published rates and an assumed share of them (`Cluster`).
"""

import csv
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from itrec_dist.config import Parser
from itrec_dist.data.windowing.buckets import EVENTS_PER_BUCKET
from itrec_dist.losses.negatives import num_draws

FIT, HELD_OUT = "fit", "held out"
_FEEDFORWARD = 1  # inner width of SASRec's layers, in widths
_IN_MEMORY = 10e6  # ratings that DuckDB sorts in the 1 GB of all points, at 100 bytes each
_BACKWARD = 3  # forward and backward are three times the products of the forward


@dataclass(frozen=True)
class Work:
    """The sizes that a part's cost depends on; those that do not matter to it are 0."""

    ratings: int = 0
    items: int = 0
    width: int = 0
    layers: int = 0
    length: int = 0
    """Positions of a row."""
    positions: int = 0
    """Of one worker in a step."""
    drawn: int = 0
    """Negatives of a position, which its group shares."""
    workers: int = 1
    steps: int = 0
    """Of an epoch."""

    @property
    def encoder_flops(self) -> float:
        """Operations of a step's matrix products in the layers, forward and backward."""
        linear = 2 * (4 + 2 * _FEEDFORWARD) * self.width**2
        return _BACKWARD * self.positions * self.layers * (linear + 4 * self.length * self.width)

    @property
    def score_flops(self) -> float:
        """The same of the scores of targets and drawn items."""
        return _BACKWARD * 2.0 * self.positions * (self.drawn + 1) * self.width

    @property
    def table(self) -> int:
        """Numbers of the item table, with biases."""
        return self.items * (self.width + 1)

    @property
    def dense(self) -> int:
        """Numbers of all other weights."""
        layer = (4 + 2 * _FEEDFORWARD) * self.width**2 + (9 + _FEEDFORWARD) * self.width
        return self.layers * layer + (self.length + 2) * self.width

    @property
    def numbers(self) -> int:
        """Numbers of all weights."""
        return self.table + self.dense

    @property
    def checkpoint_bytes(self) -> int:
        """Weights and both moments of Adam."""
        return 12 * self.numbers


Quantities = Mapping[str, float]

PARTS: dict[str, Callable[[Work], Quantities]] = {
    "windowing": lambda w: {
        "start": 1.0,
        "ratings": w.ratings,
        # What sorts and joins goes to disk beyond memory, in more passes the more there is.
        "ratings x log2(1 + ratings / 10 M)": w.ratings * math.log2(1 + w.ratings / _IN_MEMORY),
    },
    "feed": lambda w: {
        "batch": 1.0,
        "rows": w.positions / max(w.length, 1),
        "positions": w.positions,
    },
    "step": lambda w: {
        "step": 1.0,
        "operations": w.encoder_flops + w.score_flops,
        "numbers of hidden states": w.positions * w.width * w.layers,
        "scores": w.positions * (w.drawn + 1),
        "numbers of the item table": w.table,
    },
    "exchange": lambda w: {
        "message": 1.0,
        "numbers sent": 2 * (w.workers - 1) / w.workers * w.numbers,
    },
    "checkpoint": lambda w: {"start": 1.0, "bytes": w.checkpoint_bytes},
}
"""Part -> what its processor seconds are a weighted sum of."""

EPOCH = "epoch"
"""A held-out point of steps with feed and exchange, and a checkpoint, on all workers together."""


@dataclass(frozen=True)
class Point:
    """A measurement."""

    part: str
    use: str
    work: Work
    seconds: float
    """Of processors."""


@dataclass(frozen=True)
class Fit:
    """The cost of a part."""

    part: str
    coefficients: dict[str, float]
    """Seconds for one of each quantity."""
    worst: float
    """The largest relative error among the points that it was fitted to."""
    points: int

    def seconds(self, work: Work) -> float:
        """Processor seconds of some work."""
        counted = PARTS[self.part](work)
        return sum(rate * counted[name] for name, rate in self.coefficients.items())


def read(path: Path) -> list[Point]:
    """The points of a file; empty cells are sizes that do not matter."""
    sizes = [field.name for field in fields(Work)]
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Point(
                row["part"], row["use"],
                Work(**{name: int(row[name]) for name in sizes if row[name]}),
                float(row["seconds"]),
            )
            for row in csv.DictReader(file)
        ]  # fmt: skip


def fit(part: str, points: Sequence[Point]) -> Fit:
    """Fit a part's coefficients, none of them negative, to the least squares of relative errors.

    Raises:
        ValueError: there are too few points to tell anything.
    """
    own = [point for point in points if (point.part, point.use) == (part, FIT)]
    names = list(PARTS[part](Work()))
    if len(own) <= len(names):
        raise ValueError(
            f"{part} has {len(own)} points to fit and {len(names)} coefficients: measure at least "
            f"{len(names) + 1}"
        )
    counted = np.array([[PARTS[part](p.work)[name] for name in names] for p in own])
    relative = counted / np.array([[p.seconds] for p in own])
    scale = np.maximum(relative.max(axis=0), np.finfo(float).tiny)  # of very different sizes
    found, _ = nnls(relative / scale, np.ones(len(own)))
    errors = relative / scale @ found - 1.0
    rates = dict(zip(names, (found / scale).tolist(), strict=True))
    return Fit(part, rates, float(np.abs(errors).max()), len(own))


def predicted(fits: Mapping[str, Fit], point: Point) -> float:
    """The processor seconds that the model expects of a point."""
    if point.part != EPOCH:
        return fits[point.part].seconds(point.work)
    work = point.work
    parts = ("feed", "step", "exchange") if work.workers > 1 else ("feed", "step")
    each = sum(fits[part].seconds(work) for part in parts)
    return work.workers * work.steps * each + fits["checkpoint"].seconds(work)


@dataclass(frozen=True)
class Cluster:
    """GPUs and their hosts. NVIDIA publishes the rates for an H100 SXM in a DGX H100."""

    gpus: int = 64
    bf16: float = 989e12
    """Operations a second of the layers' products, dense (published)."""
    fp32: float = 67e12
    """The same of products with item vectors, which are float32 (published)."""
    memory: float = 3.35e12
    """Bytes a second of a GPU's memory (published)."""
    network: float = 50e9
    """Bytes a second of a GPU's network card, 400 Gb/s (published)."""
    cores: int = 14
    """Processor cores for each GPU: 112 for eight (published)."""
    utilisation: float = 0.3
    """Share of the rates above that is reached (assumed)."""
    launch: float = 0.02
    """Seconds of a step below which nothing brings it: launches, Python (assumed)."""
    price: float = 3.0
    """Dollars for a GPU and hour (assumed)."""


@dataclass(frozen=True)
class Answer:
    """What a run takes on a cluster, seconds of the clock."""

    windowing_cores: float
    """What is divided among all cores."""
    windowing_driver: float
    """What the starting process does alone."""
    step: dict[str, float]
    """One step, by what it waits for."""
    steps: int
    checkpoint: float

    @property
    def epoch(self) -> float:
        """Feed, then GPU, then network: nothing is counted as done beside something else."""
        return self.steps * sum(self.step.values()) + self.checkpoint


DRIVER = (30.0 - 2.5) / 19_932_403
"""Seconds of a rating in the process that starts `itrec window --distributed` (scale.md, commit
5ab4b93), without the start of the process."""


def answer(fits: Mapping[str, Fit], work: Work, cluster: Cluster) -> Answer:
    """What `work` takes with the item table sharded over all GPUs; `work.positions` of each."""
    cores = cluster.gpus * cluster.cores
    buckets = math.ceil(work.ratings / EVENTS_PER_BUCKET)
    bucket = fits["windowing"].seconds(Work(ratings=EVENTS_PER_BUCKET))
    drawn = work.drawn * num_draws(work.positions, shared=True)
    rows = 2 * work.positions + drawn  # inputs and targets, at most; drawn ones
    row_bytes = 4 * (work.width + 1)
    # A row is read and written with its gradient and its state; hidden states some 40 times.
    moved = 8 * rows * row_bytes + 40 * 4 * work.positions * work.width * work.layers
    sent = 2 * (rows * row_bytes + 4 * work.dense) * (cluster.gpus - 1) / cluster.gpus
    products = work.encoder_flops / cluster.bf16 + work.score_flops / cluster.fp32
    on_gpu = (products + moved / cluster.memory) / cluster.utilisation
    share = Work(items=work.items // cluster.gpus, width=work.width)
    return Answer(
        windowing_cores=math.ceil(buckets / cores) * bucket,
        windowing_driver=DRIVER * work.ratings,
        step={
            "feed": fits["feed"].seconds(work),
            "GPU": max(on_gpu, cluster.launch),
            "network": sent / (cluster.network * cluster.utilisation),
        },
        steps=math.ceil(work.ratings / (work.positions * cluster.gpus)),
        checkpoint=fits["checkpoint"].seconds(share),
    )


def _fits_table(fits: Mapping[str, Fit]) -> list[str]:
    lines = [
        "| part | points | worst error of a point | processor seconds |", "|---|---:|---:|---|",
    ]  # fmt: skip
    for one in fits.values():
        terms = [f"{rate:.3g} x {name}" for name, rate in one.coefficients.items() if rate]
        lines.append(f"| {one.part} | {one.points} | {one.worst:.0%} | {' + '.join(terms)} |")
    return lines


def _held_out_table(fits: Mapping[str, Fit], points: Sequence[Point]) -> list[str]:
    lines = ["| held out | measured, s | predicted, s | error |", "|---|---:|---:|---:|"]
    for point in points:
        if point.use == HELD_OUT:
            expected = predicted(fits, point)
            sizes = ", ".join(f"{n} {v:,}" for n, v in _told(point.work).items())
            lines.append(
                f"| {point.part}: {sizes} | {point.seconds:.1f} | {expected:.1f} | "
                f"{expected / point.seconds - 1:+.0%} |"
            )
    return lines


def _told(work: Work) -> dict[str, int]:
    """The sizes that are not those of no work."""
    none = vars(Work())
    return {name: value for name, value in vars(work).items() if value != none[name]}


def _answer_table(work: Work, cluster: Cluster, found: Answer, epochs: int) -> list[str]:
    training = epochs * found.epoch
    shares = ", ".join(f"{name} {1000 * s:.1f} ms" for name, s in found.step.items())
    windowing = found.windowing_cores + found.windowing_driver
    hours = (windowing + training) / 3600
    return [
        f"{work.ratings:,} ratings in histories of {work.length}, {work.items:,} items x "
        f"{work.width}, {work.layers} layers, {cluster.gpus} GPUs with {work.positions:,} "
        "positions each a step:",
        "",
        "| | time | dollars of GPUs, which wait if it is done on them |", "|---|---:|---:|",
        *(
            f"| {name} | {_time(s)} | {cluster.gpus * cluster.price * s / 3600:,.0f} |"
            for name, s in (
                ("windowing, on all cores", found.windowing_cores),
                ("windowing, the starting process alone", found.windowing_driver),
                (f"{epochs} epochs of {found.steps:,} steps", training),
            )
        ),
        f"| all | {_time(3600 * hours)} | {cluster.gpus * cluster.price * hours:,.0f} |",
        "",
        f"A step: {shares}. A checkpoint: {found.checkpoint:.1f} s.",
    ]  # fmt: skip


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"


def main() -> None:
    """Fit, compare and scale; print Markdown."""
    parser = Parser("cost_model.py", __doc__ or "")
    parser.add_argument("--points", type=Path, required=True, help="CSV file of measurements.")
    parser.add_argument("--ratings", type=int, default=10_000_000_000, help="Ratings.")
    parser.add_argument("--users", type=int, default=100_000_000, help="Each with one history.")
    parser.add_argument("--items", type=int, default=10_000_000, help="Size of the catalogue.")
    parser.add_argument("--width", type=int, default=64, help="Width of the vectors.")
    parser.add_argument("--layers", type=int, default=2, help="Layers of the transformer.")
    parser.add_argument("--positions", type=int, default=65_536, help="Of a GPU in a step.")
    parser.add_argument("--epochs", type=int, default=10, help="Epochs of training.")
    parser.add_argument("--gpus", type=int, default=Cluster.gpus, help="GPUs.")
    parser.add_argument("--price", type=float, default=Cluster.price, help="Dollars a GPU hour.")
    given = parser.parse(sys.argv[1:])
    points = read(given.points)
    try:
        fits = {part: fit(part, points) for part in PARTS}
    except ValueError as error:
        sys.exit(f"cost_model: error: {error}")
    cluster = Cluster(gpus=given.gpus, price=given.price)
    work = Work(
        ratings=given.ratings, items=given["items"], width=given.width, layers=given.layers,
        length=-(-given.ratings // given.users), positions=given.positions, drawn=256,
        workers=given.gpus,
    )  # fmt: skip
    found = answer(fits, work, cluster)
    tables = (
        _fits_table(fits), _held_out_table(fits, points),
        _answer_table(work, cluster, found, given.epochs),
    )  # fmt: skip
    print("\n\n".join("\n".join(lines) for lines in tables))


if __name__ == "__main__":
    main()
