"""Exported models in the tests: loaded, called, and compared with their checkpoints."""

from dataclasses import replace

import numpy as np
import torch

from itrec_dist.data.batches import whole_batch
from itrec_dist.data.event_features import FIRST_VALUE, MISSING
from itrec_dist.engines.engine import EngineConfig
from itrec_dist.inference.export.signature import event_inputs
from itrec_dist.inference.recommend import Request, table_of


def in_float32(restored):
    """The model as it is exported, whatever the precision of its training."""
    return replace(restored, run=replace(restored.run, engine=EngineConfig(precision="fp32")))


def loaded(folder, format_):
    """A function from named arrays to the outputs, and the names."""
    if format_ == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(folder / "model.onnx")
        names = [port.name for port in session.get_inputs()]
        return lambda given: session.run(None, {name: given[name] for name in names})
    program = torch.export.load(folder / "model.pt2")
    module, names = program.module(), program.graph_signature.user_inputs

    def call(given):
        with torch.no_grad():
            outputs = module(**{name: torch.tensor(given[name]) for name in names})
        return [output.numpy() for output in outputs]

    return call


def inputs(served, event_features=()):
    """Everything that a model may be fed with, of users and their histories.

    Of a range of numbers its upper end stands for all, where a mistake about the end would show.
    """
    past = served.histories
    seen = [past.seen(row) for row in range(len(past))]
    left_out = np.zeros((len(past), max(map(len, seen))), dtype=np.int64)
    for place, ids in zip(left_out, seen, strict=True):
        place[: len(ids)] = ids
    given = {
        "item_ids": past.item_ids.astype(np.int64), "ratings": past.ratings, "times": past.times,
        "user_features": past.user_features.astype(np.int64), "left_out": left_out,
    }  # fmt: skip
    for place, (name, feature) in enumerate(event_inputs(event_features).items()):
        codes = past.event_features[:, :, place].astype(np.int64)
        if feature.kind == "number":
            ends = np.array([*feature.edges, feature.edges[-1] + 1])
            codes = np.where(codes == MISSING, np.nan, ends[codes - FIRST_VALUE])
        given[name] = codes
    return given


def checkpoint_scores(restored, served):
    """The checkpoint's scores of all items, [U, C]."""
    rows = np.arange(len(served.users))
    windows = served.histories.windows(rows, times=restored.run.model.uses_times)
    model = restored.task.model
    with torch.no_grad():
        queries = model.encode(whole_batch(windows, restored.engine.device))
        return model.item_table().all_scores(queries).cpu().numpy()


def recommended(restored, served, k):
    """The indices of what `itrec recommend` recommends, [U, k], 0 where there is nothing."""
    index = {source: i for i, source in enumerate(restored.items.source_ids, 1)}
    users = {user: row for row, user in enumerate(served.users)}
    top = np.zeros((len(users), k), dtype=np.int64)
    for row in table_of(restored, served, Request(k)).to_pylist():
        top[users[row["user"]], row["rank"] - 1] = index[row["item"]]
    return top


def compared(restored, served, call, k):
    """The largest difference of a score, and the share of places with the same item."""
    scores, top, _ = call(inputs(served, restored.manifest.event_features))
    difference = np.abs(scores[:, 1:] - checkpoint_scores(restored, served)).max()
    return float(difference), float((top == recommended(restored, served, k)).mean())
