"""Shards at a URI, fetched to this machine once."""

import errno
import json
import os
import resource
from dataclasses import replace

import pytest
import yaml
from pyarrow import fs

from itrec_dist.data import manifest
from itrec_dist.data.shards import fetch, remote
from itrec_dist.errors import ConfigError, EnvironmentProblem, OutputError, ShardsError
from itrec_dist.storage.object_store import Store
from tests.stopped_runs import config_of, make_data, outcome, start

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "shards")


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_shards_are_fetched_once_and_again_only_if_they_change(place, data, tmp_path, monkeypatch):
    store = Store(place)
    for path in (p for p in data.rglob("*") if p.is_file()):
        store.upload(path, path.relative_to(data).as_posix())
    fetch._fetched_folder.cache_clear()
    fetched = fetch.local(place)
    assert contents(fetched) == contents(data)
    run = replace(config_of(data, tmp_path / "run", training={"epochs": 1}), shards=place)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "download_all", lambda *_: pytest.fail("fetched again"))
        fetch._fetched_folder.cache_clear()
        start(run)
    assert yaml.safe_load((run.out / "config.yaml").read_text())["shards"] == str(place)
    described = json.loads((data / "manifest.json").read_text()) | {"fingerprint": "2" * 64}
    store.write("manifest.json", json.dumps(described).encode())
    fetch._fetched_folder.cache_clear()
    assert fetch.local(place) != fetched
    with pytest.raises(ConfigError, match=r"holds no manifest\.json"):
        fetch.local(place.below("none"))


def test_streamed_histories_are_read_where_they_lie(place, history_shards, tmp_path):
    """A run learns from them what it learns from a folder, and no split is on this machine."""
    store = Store(place)
    for path in (p for p in history_shards.rglob("*") if p.is_file()):
        store.upload(path, path.relative_to(history_shards).as_posix())
    fetch._fetched_folder.cache_clear()
    run = config_of(
        history_shards, tmp_path / "folder", training={"epochs": 1},
        feed={"cache": "none", "shuffle_events": 8000},
    )  # fmt: skip
    far = replace(run, shards=place, out=tmp_path / "uri")
    assert outcome(start(far)) == outcome(start(run))
    fetched = fetch.without_splits(place)
    assert {path.suffix for path in fetched.iterdir()} == {".json", ".parquet"}
    assert not any(path.is_dir() for path in fetched.iterdir()), "no split"
    name = next(iter(store.files("test")))
    store.write(name, b"not what the manifest says")
    described = manifest.read(history_shards)
    with pytest.raises(ShardsError, match=f"{place}/{name} has 26 bytes, .* are expected"):
        remote.histories(place, described, "test")
    store.remove(name)
    with pytest.raises(ShardsError, match=f"{place}/{name} is missing: window the data again"):
        remote.histories(place, described, "test")
    with pytest.raises(ShardsError, match=f"{place} has no warm windows; it has: train, "):
        remote.histories(place, described, "warm")


@pytest.mark.parametrize("place", ["file"], indirect=True)
def test_shards_that_do_not_fit_the_disk_give_one_sentence(place, data, monkeypatch):
    store = Store(place)
    for path in (p for p in data.rglob("*") if p.is_file()):
        store.upload(path, path.relative_to(data).as_posix())
    fetch._fetched_folder.cache_clear()
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, kept[1]))
    try:
        with pytest.raises(OutputError, match=f"cannot write .*{os.strerror(errno.EFBIG)}") as full:
            fetch.local(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert "\n" not in str(full.value)
    plain = fs.copy_files
    with monkeypatch.context() as patch:
        patch.setattr(fs, "copy_files", lambda *_, **__: plain("/nowhere", "/nowhere/else"))
        with pytest.raises(EnvironmentProblem, match=f"{place} cannot be reached"):
            fetch.local(place)
    found = fetch.local(place)
    assert sorted(p.name for p in found.parent.iterdir()) == [found.name, f"{found.name}.lock"]
