import json
import pickle
import pickletools
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.errors import CheckpointError
from itrec_dist.models.ite import ITE, ITEConfig
from itrec_dist.runs.checkpoints import format as checkpoint_format
from itrec_dist.runs.checkpoints import retention
from itrec_dist.runs.checkpoints.format import Record
from itrec_dist.storage import hashed_files
from tests.shards_factory import make_shards, random_windows

pytestmark = pytest.mark.usefixtures("one_thread")
RECORD = Record(epoch=3, step=120, fingerprint="f" * 64, monitor={"loss": 1.25})
FILES = {"model.safetensors", "config.yaml", "manifest.json", "items.parquet", "checkpoint.json"}


@pytest.fixture
def ground(tmp_path):
    """A run directory with what a checkpoint copies, a model, and a way to save it."""
    shards, run = tmp_path / "shards", tmp_path / "run"
    data = make_shards(shards, {"train": random_windows()})
    run.mkdir()
    (run / "config.yaml").write_text("seed: 7\n")
    (run / "manifest.json").write_text((shards / "manifest.json").read_text())
    spec = data_spec.build(data, reader.read_items(shards, data))
    return Ground(run, shards / "items.parquet", spec)


class Ground:
    def __init__(self, run, items, spec):
        self.folder, self.items = run / "checkpoints" / "best", items
        self._run, self._spec = run, spec

    def model(self, seed=0, width=16):
        torch.manual_seed(seed)
        config = ITEConfig(width=width, num_heads=2, feedforward_width=8, movie_feature_width=4)
        return ITE(config, self._spec)

    def save(self, model, record=RECORD, items=None):
        def fill(folder):
            weights = model.state_dict()
            checkpoint_format.write(
                folder, weights, record, beside=self._run, items=(items or self.items).read_bytes()
            )

        retention.put(self.folder.parent, "best", record.step, 1, fill)


def same_weights(one, other):
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[k], theirs[k]) for k in mine)


def refusal(folder, model):
    """The one sentence in which loading is refused."""
    with pytest.raises(CheckpointError) as error:
        checkpoint_format.load_weights(folder, model)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)
    return str(error.value)


def edit(folder, **changes):
    path = folder / "checkpoint.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))


def test_weights_are_restored_bit_for_bit(ground):
    model, other = ground.model(seed=1), ground.model(seed=2)
    assert not same_weights(model, other)
    ground.save(model)
    record = checkpoint_format.load_weights(ground.folder, other)
    assert same_weights(model, other)
    assert (record.epoch, record.step, record.fingerprint) == (3, 120, "f" * 64)
    assert record.monitor == {"loss": 1.25}
    assert record == checkpoint_format.read_record(ground.folder)


def test_a_checkpoint_is_self_contained(ground):
    ground.save(ground.model())
    assert {path.name for path in ground.folder.iterdir()} == FILES
    assert (ground.folder / "config.yaml").read_text() == "seed: 7\n"
    assert pq.read_table(ground.folder / "items.parquet").equals(pq.read_table(ground.items))
    assert json.loads((ground.folder / "manifest.json").read_text())["num_items"] == 12


def test_nothing_in_a_checkpoint_is_a_pickle(ground):
    ground.save(ground.model())
    for path in ground.folder.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK")), "a pickle, or torch's zip of pickles"
        with pytest.raises((ValueError, pickle.UnpicklingError)):
            list(pickletools.genops(content))


def test_a_new_checkpoint_replaces_the_old_as_a_whole(ground):
    ground.save(ground.model(seed=1))
    (ground.folder / "stray").touch()
    newer = ground.model(seed=2)
    ground.save(newer, Record(epoch=4, step=160, fingerprint="f" * 64, monitor={}))
    restored = ground.model()
    assert checkpoint_format.load_weights(ground.folder, restored).epoch == 4
    assert same_weights(newer, restored)
    assert {path.name for path in ground.folder.iterdir()} == FILES
    assert [path.name for path in ground.folder.parent.iterdir()] == ["best"]


@pytest.mark.parametrize("failing", ["items", "record", "interrupt"])
def test_a_failure_while_writing_leaves_the_old_checkpoint(ground, failing, monkeypatch):
    old = ground.model(seed=1)
    ground.save(old)

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises((OSError, ValueError, KeyboardInterrupt)):
        if failing == "items":  # after the weights were written
            ground.save(ground.model(seed=2), items=Path("gone.parquet"))
        elif failing == "record":
            ground.save(ground.model(seed=2), Record(4, 160, "f", {"loss": float("nan")}))
        else:
            monkeypatch.setattr(hashed_files, "write", interrupt)
            ground.save(ground.model(seed=2))
    restored = ground.model()
    assert checkpoint_format.load_weights(ground.folder, restored).epoch == 3
    assert same_weights(old, restored)
    assert [path.name for path in ground.folder.parent.iterdir()] == ["best"], "nothing is left"


def test_no_checkpoint_is_refused(ground, tmp_path):
    assert "holds no checkpoint" in refusal(tmp_path / "nowhere", ground.model())
    (tmp_path / "empty").mkdir()
    assert "holds no checkpoint" in refusal(tmp_path / "empty", ground.model())


@pytest.mark.parametrize("damage", ["truncated", "a bit", "foreign", "empty"])
def test_damaged_weights_are_refused_and_the_model_is_untouched(ground, damage):
    ground.save(ground.model(seed=1))
    path = ground.folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "a bit":
        content[-5] ^= 1
    changed = {"truncated": content[:-40], "foreign": b"PK\x03\x04 else", "empty": b""}
    path.write_bytes(changed.get(damage, content))
    model, before = ground.model(seed=2), ground.model(seed=2)
    assert "damaged" in refusal(ground.folder, model)
    assert same_weights(model, before)


def test_a_checkpoint_without_weights_is_refused(ground):
    ground.save(ground.model())
    (ground.folder / "model.safetensors").unlink()
    assert "has no model.safetensors" in refusal(ground.folder, ground.model())


def test_weights_that_are_no_safetensors_are_refused_even_if_recorded_so(ground):
    ground.save(ground.model())
    path = ground.folder / "model.safetensors"
    path.write_bytes(b"something else altogether")
    files = checkpoint_format.read_record(ground.folder).files
    edit(ground.folder, files=files | {path.name: hashed_files.sha256(path)})
    assert "is damaged" in refusal(ground.folder, ground.model())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '"text"', '{"format_version": 2}', "\x00\x01"]
)
def test_a_damaged_record_is_refused(ground, content):
    ground.save(ground.model())
    (ground.folder / "checkpoint.json").write_text(content)
    assert "damaged" in refusal(ground.folder, ground.model())


def test_a_record_of_other_bytes_is_refused(ground):
    ground.save(ground.model())
    (ground.folder / "checkpoint.json").write_bytes(b"\xff\xfe\x80")
    assert "damaged" in refusal(ground.folder, ground.model())


def test_another_format_is_refused_naming_both(ground):
    ground.save(ground.model())
    edit(ground.folder, format_version=3, a_new_field=1)
    assert "format 3, this version reads 2" in refusal(ground.folder, ground.model())
    edit(ground.folder, format_version=...)
    assert "format None, this version reads 2" in refusal(ground.folder, ground.model())


def test_a_record_with_a_field_unknown_is_refused(ground):
    ground.save(ground.model())
    edit(ground.folder, surprise=1)
    assert "surprise" in refusal(ground.folder, ground.model())


def test_weights_of_another_shape_are_refused_naming_them(ground):
    ground.save(ground.model(width=16))
    said = refusal(ground.folder, ground.model(width=24))
    assert "does not fit its configuration" in said
    assert "item_embedding.weight" in said


def test_weights_of_another_module_are_refused(ground):
    ground.save(ground.model())
    assert "does not fit its configuration" in refusal(ground.folder, nn.Linear(2, 2))
    more = nn.ModuleDict({"one": nn.Linear(2, 2)})
    ground.save(more)
    more["two"] = nn.Linear(2, 2)
    assert "two.weight" in refusal(ground.folder, more), "every weight must be restored"
