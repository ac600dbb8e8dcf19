"""Runs whose item vectors are sharded over workers: stopped, resumed by others, and used by one."""

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from itrec_dist.data import manifest
from itrec_dist.data.batches import whole_batch
from itrec_dist.distributed.context import LocalContext
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.evaluation.checkpoints import judge_checkpoint
from itrec_dist.inference.export.scorer import Scorer
from itrec_dist.inference.load import restore, whole
from itrec_dist.inference.recommend import Request, table_of
from itrec_dist.inference.served import from_shards
from itrec_dist.losses.sampled_softmax import SampledSoftmaxConfig
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.ite import ITEConfig
from itrec_dist.models.sasrec import SasrecConfig
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import parts
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.uri import Uri
from itrec_dist.training import resume, worker
from itrec_dist.training.config import check
from tests.stopped_runs import config_of, go_on, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
VECTORS, BIAS = "item_embedding.weight", "item_bias"
STOPS = (5, 9)


def run_of(data, out, **changes):
    run = config_of(
        data, out, training={"epochs": 2, "batch_size": 32, "patience": None},
        engine={"item_table": "sharded"}, optimizer={"clip_norm": 1.0}, **changes,
    )  # fmt: skip
    model = SasrecConfig(width=16, num_layers=1, dropout=0.1)
    return replace(run, model=model, loss=SampledSoftmaxConfig(num_negatives=32))


def whole_tables(context, run):
    """What workers hold that have just resumed a run: the rows of all, in order."""
    point = resume.load_last(RunDirectory(run.folder)) if context.rank == 0 else None
    rows = worker._Worker(run, context, None, None, lambda: point)._engine.rows
    return {
        name: rows.items.sharding.block(own, 0, rows.items.num_items)
        for name, own in {**rows.items.tables, **rows.state}.items()
    }


def work(context, data, out):
    """What each of the two processes does."""
    start(run_of(data, out / "whole"), context)
    start(run_of(data, out / "halves"), context, stop_at=STOPS[0])
    go_on(run_of(data, out / "halves"), context)
    start(run_of(data, out / "moved"), context, stop_at=STOPS[0])
    return whole_tables(context, run_of(data, out / "moved"))


def work_on(context, data, out):
    """The same, after one process went on."""
    found = whole_tables(context, run_of(data, out / "moved"))
    go_on(run_of(data, out / "moved"), context)
    return found


@pytest.fixture(scope="module")
def two_workers(history_shards, pair, tmp_path_factory):
    out = tmp_path_factory.mktemp("sharded")
    return out, pair.run(work, history_shards, out)


def in_order(checkpoint):
    """The tables of a checkpoint, row by row from the files that hold them."""
    found = {}
    for folder in (checkpoint, checkpoint / "state"):
        files = [safetensors.torch.load_file(f) for f in sorted(folder.glob("items-*"))]
        for name in files[0] if files else ():
            total = sum(len(file[name]) for file in files)
            rows = [files[r % len(files)][name][r // len(files)] for r in range(total)]
            found[name] = torch.stack(rows)
    return found


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_a_stopped_run_of_two_workers_ends_to_the_bit_as_one_that_was_not(two_workers):
    out, _ = two_workers
    undisturbed = outcome(RunDirectory(out / "whole"))
    assert len([name for name in undisturbed["files"] if "items-" in name]) == 6
    assert outcome(RunDirectory(out / "halves")) == undisturbed
    last = out / "whole" / "checkpoints" / "last"
    dense = safetensors.torch.load_file(last / "model.safetensors")
    assert VECTORS not in dense
    assert not any(BIAS in name for name in dense)
    assert not list(last.parent.glob(".*")), "parts are put into checkpoints"


def test_one_worker_takes_a_run_from_two_and_gives_it_back_bit_by_bit(
    history_shards, pair, two_workers
):
    out, resumed_by_two = two_workers
    run = run_of(history_shards, out / "moved")
    last = out / "moved" / "checkpoints" / "last"
    expected = in_order(last)
    assert {f"exp_avg:{VECTORS}", f"exp_avg_sq:{BIAS}"} < set(expected)
    for found in (*resumed_by_two, whole_tables(LocalContext(CPU, 1), run)):
        same(found, expected)
    go_on(run, stop_at=STOPS[1])
    expected = in_order(last)
    assert [p.name for p in last.glob("items-*")] == ["items-00001-of-00001.safetensors"]
    for found in pair.run(work_on, history_shards, out):
        same(found, expected)
    run = RunDirectory(out / "moved")
    assert [e["epoch"] for e in run.events("epoch")][-1] == 2
    assert run.events("end")[-1]["reason"] == "finished"


def test_one_process_reads_the_parts_of_two_and_judges_as_they_did(history_shards, two_workers):
    out, _ = two_workers
    run = RunDirectory(out / "whole")
    weights = checkpoint_format.read_weights(run.checkpoints / "best")
    tables = in_order(run.checkpoints / "best")
    assert torch.equal(weights[VECTORS][1:], tables[VECTORS])
    assert not weights[VECTORS][0].any(), "padding stays zero"
    assert torch.equal(weights[BIAS], tables[BIAS])
    restored = restore(run.path)
    assert not any("item_embedding" in n for n, _ in restored.task.named_parameters())
    written = json.loads(run.evaluation.read_text())["splits"]
    judged = judge_checkpoint(restored, history_shards)
    for split, judgement in judged.items():
        found, expected = judgement.to_json(), written[split]
        assert found["masked"] == expected["masked"]
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    users = from_shards(restored, history_shards)
    mapped = table_of(restored, users, Request(5))
    in_one_place = table_of(whole(restored), users, Request(5))
    assert mapped.equals(in_one_place)


def test_an_export_has_the_item_vectors_in_one_place(history_shards, two_workers):
    out, _ = two_workers
    restored = restore(out / "whole")
    model, length = whole(restored).task.model, restored.manifest.input_length
    histories = from_shards(restored, history_shards).histories
    batch = whole_batch(histories.windows(np.arange(9)), CPU)
    (scores_BV,) = Scorer(model, restored.items, length)(batch.item_ids_BL.long())
    with torch.no_grad():
        expected = torch.cat(list(restored.task.catalogue_scores(batch)), dim=1)
    torch.testing.assert_close(scores_BV[:, 1:], expected)


def test_a_damaged_or_missing_part_is_named(two_workers, tmp_path):
    out, _ = two_workers
    best = out / "whole" / "checkpoints" / "best"
    record = checkpoint_format.read_record(best)
    copied = tmp_path / "best"
    copied.mkdir()
    for file in best.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    (name, other) = parts.names(record.files)
    raw = bytearray((copied / other).read_bytes())
    raw[-1] ^= 1
    (copied / other).write_bytes(raw)
    with pytest.raises(CheckpointError, match=f"{other} is damaged"):
        checkpoint_format.read_weights(copied)
    (copied / other).unlink()
    with pytest.raises(CheckpointError, match=f"no {other}"):
        checkpoint_format.verify(copied)
    with pytest.raises(CheckpointError, match="only items-00001-of-00002"):
        parts.names([name])


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"loss": SoftmaxConfig()}, "loss=softmax"),
        ({"model": ITEConfig()}, "model.kind=ite"),
        ({"model": SasrecConfig(linear_width=8)}, "model.linear_width=8"),
        ({"model": SasrecConfig(temperature=0.1)}, "model.temperature=0.1"),
        ({"out": Uri("s3://bucket/run")}, "out=s3://bucket/run"),
        ({"engine.name": "fsdp"}, "engine.name=fsdp"),
        ({"engine.compile": "default"}, "engine.compile=default"),
        ({"engine.precision": "fp16"}, "engine.precision=fp16"),
        ({"optimizer.name": "sgd"}, "optimizer.beta1=0.9 with sgd"),
        ({"optimizer.decay_embeddings": True}, "optimizer.decay_embeddings=true lets all"),
    ],
)
def test_what_needs_all_vectors_is_refused_in_one_sentence(
    changes, sentence, history_shards, tmp_path
):
    run = run_of(history_shards, tmp_path)
    for name, value in changes.items():
        section, _, setting = name.partition(".")
        own = replace(getattr(run, section), **{setting: value}) if setting else value
        run = replace(run, **{section: own})
    with pytest.raises(ConfigError) as refused:
        check(run, 2)
    assert sentence in str(refused.value)
    assert "engine.item_table" in str(refused.value)


def test_a_run_goes_on_with_the_item_table_it_began_with(history_shards, two_workers):
    out, _ = two_workers
    run = run_of(history_shards, out / "moved")
    run = replace(run, engine=replace(run.engine, item_table="replicated"))
    with pytest.raises((ConfigError, CheckpointError), match=r"cannot continue|is complete"):
        resume.check(run, manifest.read(history_shards))
