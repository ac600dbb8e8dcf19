"""How often the files of a checkpoint are read and hashed: once, while they are loaded."""

import collections
import hashlib
import os
import sys

import pytest
import safetensors.torch

from itrec_dist import config
from itrec_dist.storage import hashed_files
from itrec_dist.training.loop import Trainer
from tests.kept_snapshots import run_directory, steps_of, write, writer_of
from tests.stopped_runs import config_of, make_data, start

pytestmark = pytest.mark.usefixtures("one_thread")

STATE = ("state.json", "optimizer.json", "optimizer.safetensors", "workers.safetensors")
FILES = ("config.yaml", "items.parquet", "manifest.json", "model.safetensors")


class Counts:
    """Readings of files below a folder, by opening them, and bytes hashed in all."""

    def __init__(self):
        self.folder, self.read, self.hashed = None, collections.Counter(), 0
        sys.addaudithook(self._audit)  # for good: it is quiet while there is no folder

    def _audit(self, event, args):
        if event == "open" and isinstance(args[0], str | os.PathLike) and args[1] in ("r", "rb"):
            self.note(args[0])

    def note(self, path):
        name = os.fspath(path)
        if self.folder and name.startswith(self.folder):
            self.read[os.path.relpath(name, self.folder)] += 1


COUNTS = Counts()


@pytest.fixture
def counts(monkeypatch):
    """Counts, also of what the package of safetensors opens past Python."""
    plain_hash = hashlib.sha256

    class Hash:
        def __init__(self, content=b""):
            self._hash = plain_hash()
            self.update(content)

        def update(self, content):
            COUNTS.hashed += len(content)
            self._hash.update(content)

        def hexdigest(self):
            return self._hash.hexdigest()

    def digested(file, _):
        found = Hash()
        while chunk := file.read(2**20):
            found.update(chunk)
        return found

    for name in ("load_file", "safe_open"):
        plain = getattr(safetensors.torch, name)

        def opened(path, *args, _plain=plain, **kwargs):
            COUNTS.note(path)
            return _plain(path, *args, **kwargs)

        monkeypatch.setattr(safetensors.torch, name, opened)
    monkeypatch.setattr(hashlib, "sha256", Hash)
    monkeypatch.setattr(hashlib, "file_digest", digested)
    COUNTS.read.clear()
    COUNTS.hashed = 0
    yield COUNTS
    COUNTS.folder = None


def size_of(*folders):
    return sum(p.stat().st_size for folder in folders for p in folder.rglob("*") if p.is_file())


def test_saving_hashes_every_byte_once_and_reads_nothing_back(tmp_path, counts):
    run = run_directory(tmp_path / "run")
    writer = writer_of(run)
    counts.folder = str(run.checkpoints)
    write(writer, 10)
    counts.folder = None
    assert counts.read == {}
    assert counts.hashed == size_of(run.checkpoints)
    assert steps_of(run.checkpoints) == {"best": 10, "last": 10}


def test_resuming_reads_every_file_once_before_the_first_step(tmp_path, counts, monkeypatch, itrec):
    run = config_of(make_data(tmp_path / "shards"), tmp_path / "run")
    folder = start(run, stop_at=7).checkpoints
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.to_yaml(run))
    seen = []

    def train(*_, **__):
        seen.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr(Trainer, "train", train)
    counts.read.clear()
    counts.hashed, counts.folder = 0, str(folder)
    code, _, err = itrec("train", "--local", "--config", recipe, "--resume")
    counts.folder = None
    assert (code, seen) == (130, [True]), err
    parsed = counts.read.pop(
        "last/config.yaml"
    )  # parsed as a recipe, hashed, and asked for the precision
    assert parsed == 3
    assert counts.read == {
        **{f"last/{name}": 1 for name in (*FILES, "checkpoint.json") if name != "config.yaml"},
        **{f"last/state/{name}": 1 for name in STATE},
        **{f"best/{name}": 1 for name in (*FILES, "checkpoint.json")},
    }
    records = size_of(folder) - sum(
        (folder / kind / "checkpoint.json").stat().st_size for kind in ("best", "last")
    )
    assert counts.hashed == records, "what is recorded is hashed once; the records are not"


def test_a_file_is_hashed_in_chunks_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(hashed_files, "_CHUNK", 7)
    content = os.urandom(100)
    written = hashed_files.write(tmp_path / "one", content)
    copied = hashed_files.copy(tmp_path / "one", tmp_path / "two")
    assert written == copied == hashed_files.Written(hashlib.sha256(content).hexdigest(), 100)
    buffer = bytearray(100)
    assert hashed_files.read_into(tmp_path / "two", memoryview(buffer)) == written.sha256
    assert buffer == content
    with pytest.raises(OSError, match="ends after 100 bytes"):
        hashed_files.read_into(tmp_path / "two", memoryview(bytearray(101)))
