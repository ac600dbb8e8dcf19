"""What `itrec export` keeps and what serving it costs, for every kind of ranking model.

Data are generated, and each model is trained on them for an epoch. Parity: a thousand users
are ranked by the checkpoint, as `itrec recommend` does in float32, and by each exported format;
scores of all items are compared, and the ids of the best ten. Latency: the same for one user and
for 256 at once, in turns, as ratios to the checkpoint; by processor time on one thread, which a
busy machine changes little.

Needs itrec-dist[export] and onnxruntime.

    python jobs/benchmarks/export_parity.py --scratch FOLDER --out PAGE
"""

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pyarrow as pa
import torch
from measuring import machine

import itrec_dist
from itrec_dist import config
from itrec_dist.config import Parser
from itrec_dist.config.shipped_files import recipe
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.event_features import FIRST_VALUE, MISSING
from itrec_dist.data.schema import PAD
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.inference.export.folder import Request, export
from itrec_dist.inference.export.signature import event_inputs
from itrec_dist.inference.load import Restored, restore
from itrec_dist.inference.recommend import Request as Recommended
from itrec_dist.inference.recommend import table_of
from itrec_dist.inference.served import Served, from_shards
from itrec_dist.launch.start import train
from itrec_dist.models.item_table import RankingModel
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from itrec_dist.training.config import RunConfig

_USERS = 1000
_K = 10
_CALLS = 3
_ROUNDS = 3

_TOLD = ("model.side_information=both", "model.rating=true", "model.event_context=[gap,weekday]")
_COLUMNS = "model.event_features=[device,price]"
MODELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "SASRec": ("histories", "sasrec_ml1m", ()),
    "SASRec, side information": ("histories", "sasrec_ml1m", _TOLD),
    "SASRec, columns of events": ("columns", "sasrec_ml1m", (_COLUMNS,)),
    "eSASRec": ("histories", "esasrec_ml1m", ()),
    "eSASRec + linear": ("histories", "esasrec_linear_ml1m", ()),
    "HSTU": ("histories", "hstu_ml1m", ()),
    "FuXi": ("histories", "fuxi_ml1m", ()),
    "GRU4Rec": ("histories", "gru4rec_ml1m", ()),
    "BERT4Rec": ("histories", "bert4rec_ml1m", ()),
    "ITE": ("windows", "paper", ()),
    "ITE, repeat bias": ("windows", "ml1m_best", ()),
}
"""Name -> samples, recipe, settings besides."""

Call = Callable[[dict[str, npt.NDArray[Any]]], list[npt.NDArray[Any]]]
"""Scores, top items, top scores of named inputs."""


@dataclass(frozen=True)
class Compared:
    """One format beside the checkpoint."""

    difference: float
    """The largest difference of a score."""
    same: float
    """The share of places in the top ten with the same item."""
    one: float
    """Time of a call for one user, median, relative to the checkpoint."""
    many: float
    """The same for 256 users."""


def lines(scratch: Path, names: Sequence[str]) -> list[str]:
    """The section as Markdown."""
    shards = _shards(scratch)
    rows = [
        "| model | format | largest difference of a score | same item, top 10 | one user: time "
        "relative to the checkpoint | 256 users |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name in names:
        samples, base, settings = MODELS[name]
        restored = _trained(shards[samples], scratch / "run", base, settings)
        for format_, found in _compared(restored, shards[samples], scratch).items():
            row = (
                f"| {name} | {format_} | {found.difference:.1e} | {found.same:.2%} | "
                f"{found.one:.2f} | {found.many:.2f} |"
            )
            print(row, flush=True)
            rows.append(row)
    return rows


def _shards(scratch: Path) -> dict[str, Path]:
    source = scratch / "source"
    if not source.exists():
        generate(SyntheticConfig(users=1100, movies=2000, ratings_per_user=40.0, seed=0), source)
        histories("ml-1m", source, scratch / "histories", HistoryConfig(max_length=50))
        window("ml-1m", source, scratch / "windows", WindowConfig(top_items=2000))
        given = {"event_features": ["device"], "event_numbers": ["price"], "time_unit": "seconds"}
        events = itrec_dist.read(_told(source), **given)
        cut = {"samples": "histories", "max_length": 50}
        itrec_dist.split(events, out=scratch / "columns", **cut)
    return {name: scratch / name for name in ("histories", "windows", "columns")}


def _told(source: Path) -> pa.Table:
    """The generated events with a device and a price each, drawn at random, a tenth missing."""
    lines = (source / "ratings.dat").read_text().split()
    users, items, _, times = zip(*(line.split("::") for line in lines), strict=True)
    rng = np.random.default_rng(0)
    is_missing_2N = rng.random((2, len(lines))) < 0.1
    return pa.table(
        {
            "user": users, "item": items, "timestamp": np.array(times, dtype=np.int64),
            "device": pa.array(rng.choice([*"abcde"], len(lines)), mask=is_missing_2N[0]),
            "price": pa.array(rng.integers(1, 5000, len(lines)) / 100, mask=is_missing_2N[1]),
        }
    )  # fmt: skip


def _trained(shards: Path, out: Path, base: str, settings: Sequence[str]) -> Restored:
    given = [
        f"shards={shards}", f"out={out}", "training.epochs=1", "engine.precision=fp32",
        "evaluation.train_sample=0", "cluster.threads=1", *settings,
    ]  # fmt: skip
    train(config.load(RunConfig, recipe(base), given), local=True, existing="overwrite")
    return restore(out)


def _compared(restored: Restored, shards: Path, scratch: Path) -> dict[str, Compared]:
    served = _first(from_shards(restored, shards), _USERS)
    scores_UC, top_UN = _ranked(restored, served)
    found = {}
    for format_ in ("torch", "onnx"):
        folder = scratch / format_
        export(restored, Request(format_, _K), lambda _: "", folder, overwrite=True)  # type: ignore[arg-type]
        call, names = _loaded(folder, format_)
        given = {n: value for n, value in _inputs(restored, served).items() if n in names}
        scores_UV, exported_UN, _ = call(given)
        one, many = (_ratio(restored, served, call, given, count) for count in (1, 256))
        found[format_] = Compared(
            float(np.abs(scores_UV[:, 1:] - scores_UC).max()),
            float((exported_UN == top_UN).mean()), one, many,
        )  # fmt: skip
    return found


def _first(served: Served, count: int) -> Served:
    rows = np.arange(count)
    past = served.histories
    ends = past.seen_offsets[: count + 1]
    taken = replace(
        past, user_ids=past.user_ids[rows], user_features=past.user_features[rows],
        item_ids=past.item_ids[rows], ratings=past.ratings[rows], times=past.times[rows],
        event_features=past.event_features[rows], seen_offsets=ends,
    )  # fmt: skip
    return Served(served.users[:count], taken)


def _ranked(
    restored: Restored, served: Served
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """The checkpoint's scores of all items, and the indices of what it recommends."""
    rows = np.arange(len(served.users))
    windows = served.histories.windows(rows, times=restored.run.model.uses_times)
    batch = whole_batch(windows, restored.engine.device)
    model = restored.task.model
    assert isinstance(model, RankingModel)
    with torch.no_grad():
        scores_UC = model.item_table().all_scores(model.encode(batch)).numpy()
    index = {source: i for i, source in enumerate(restored.items.source_ids, 1)}
    table = table_of(restored, served, Recommended(_K))
    top_UN = np.full((len(rows), _K), PAD, dtype=np.int64)
    users = {user: row for row, user in enumerate(served.users)}
    for row in table.select(["user", "rank", "item"]).to_pylist():
        top_UN[users[row["user"]], row["rank"] - 1] = index[row["item"]]
    return scores_UC, top_UN


def _inputs(restored: Restored, served: Served) -> dict[str, npt.NDArray[Any]]:
    past = served.histories
    seen = [past.seen(row) for row in range(len(past))]
    left_out = np.zeros((len(past), max(map(len, seen))), dtype=np.int64)
    for place, ids in zip(left_out, seen, strict=True):
        place[: len(ids)] = ids
    given: dict[str, npt.NDArray[Any]] = {
        "item_ids": past.item_ids.astype(np.int64), "ratings": past.ratings, "times": past.times,
        "user_features": past.user_features.astype(np.int64), "left_out": left_out,
    }  # fmt: skip
    columns = event_inputs(restored.manifest.event_features)
    for place, (name, feature) in enumerate(columns.items()):
        codes = past.event_features[:, :, place].astype(np.int64)
        if feature.kind == "number":  # its range's upper end stands for a number
            ends = np.array([*feature.edges, feature.edges[-1] + 1])
            codes = np.where(codes == MISSING, np.nan, ends[codes - FIRST_VALUE])
        given[name] = codes
    return given


def _loaded(folder: Path, format_: str) -> tuple[Call, set[str]]:
    if format_ == "onnx":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(folder / "model.onnx", options)
        return lambda given: session.run(None, given), {i.name for i in session.get_inputs()}
    program = torch.export.load(folder / "model.pt2")
    module = program.module()

    def call(given: dict[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
        with torch.no_grad():
            outputs = module(**{name: torch.from_numpy(value) for name, value in given.items()})
        return [output.numpy() for output in outputs]

    return call, set(program.graph_signature.user_inputs)


def _ratio(
    restored: Restored, served: Served, call: Call, given: dict[str, npt.NDArray[Any]], count: int
) -> float:
    """Time of the exported model relative to that of the checkpoint, both in turns."""
    few, rows = _first(served, count), {name: value[:count] for name, value in given.items()}
    ways = (lambda: table_of(restored, few, Recommended(_K)), lambda: call(rows))
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for way, taken in zip(ways, seconds, strict=True):
            way()
            for _ in range(_CALLS):
                started = time.process_time()
                way()
                taken.append(time.process_time() - started)
    checkpoint, exported = map(statistics.median, seconds)
    return exported / checkpoint


def main() -> None:
    """Measure, print and write."""
    parser = Parser("export_parity.py", __doc__ or "")
    parser.add_argument("--scratch", type=Path, help="Folder for data and runs.")
    parser.add_argument("--out", type=Path, help="Markdown file to write.")
    parser.add_argument("--models", type=list[str], default=list(MODELS), help="Which models.")
    given = parser.parse(sys.argv[1:])
    torch.set_num_threads(1)
    text = [f"{machine()}; torch {torch.__version__}, onnxruntime {onnxruntime.__version__}", ""]
    given.out.write_text("\n".join([*text, *lines(given.scratch, given.models)]) + "\n")


if __name__ == "__main__":
    main()
