"""Every command that writes once writes to a URI what it writes to a path."""

import json
import shutil

import pyarrow as pa
import pytest

import itrec_dist as library
from itrec_dist.data.shards import fetch
from itrec_dist.errors import ConfigError, EnvironmentProblem, OutputError
from itrec_dist.evaluation import per_window
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage import outputs
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from tests import object_store

pytestmark = pytest.mark.usefixtures("one_thread")
MAKE = ("data", "make", "--users", 100, "--movies", 80, "--ratings_per_user", 20)
CUT = ("--samples", "histories", "--protocol", "leave_one_out", "--max_length", 20, "--threads", 1)
TINY = (
    "--model.kind", "sasrec", "--model.width", 16, "--model.num_layers", 1, "--training.epochs", 1,
    "--training.batch_size", 64, "--cluster.threads", 1, "--engine.precision", "fp32",
)  # fmt: skip


def there(place):
    """Name -> content of a file or of a folder's files at a URI."""
    store = Store(place)
    if store.size("") is not None:
        return {"": store.read("")}
    return {name: store.read(name) for name in store.files()}


def here(place):
    if place.is_file():
        return {"": place.read_bytes()}
    files = (path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


def done(itrec, *arguments):
    code, out, err = itrec(*arguments)
    assert code == 0, err
    return out


def test_shards_at_a_uri_are_those_of_a_path(place, ratings_folder, history_shards, itrec):
    given = ("window", "--source", "ml-1m", "--input", ratings_folder, "--samples", "histories",
             "--protocol", "leave_one_out", "--max_length", 20, "--out", place)  # fmt: skip
    assert f"wrote {place} in" in done(itrec, *given)
    assert there(place) == here(history_shards)
    code, _, err = itrec(*given)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{place} already exists" in err


def test_a_copy_that_breaks_off_is_nothing_that_reads_as_shards(
    place, history_shards, itrec, monkeypatch
):
    plain, sent = Store.upload, []

    def remove(store, name):
        if len(sent) > 2:  # nothing can be cleaned up either
            raise EnvironmentProblem(f"{store} cannot be reached: down")

    def upload(store, path, name):
        sent.append(name)
        if len(sent) > 2:
            raise EnvironmentProblem(f"{store} cannot be reached: down")
        plain(store, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", upload)
        patch.setattr(Store, "remove", remove)
        with (
            pytest.raises(OutputError, match=f"{place} cannot be reached: down; the whole output"),
            outputs.new_directory(place, marker="manifest.json") as building,
        ):
            shutil.copytree(history_shards, building, dirs_exist_ok=True)
    assert len(there(place)) == 3
    for act in (library.open, lambda at: fetch.local(Uri(at))):
        with pytest.raises(ConfigError, match=r"holds no manifest\.json"):
            act(str(place))
    given = ("window", "--source", "ml-1m", "--input", history_shards, *CUT, "--out", place)
    code, _, err = itrec(*given)
    assert (code, err.count("\n")) == (2, 1)
    assert "was left unfinished" in err


def test_the_library_reads_again_what_it_has_replaced(tmp_path, monkeypatch):
    object_store.machine(monkeypatch, tmp_path / "machine")
    place = f"file://{tmp_path}/store/shards"
    given = {"protocol": "leave_one_out", "out": place, "threads": 1, "num_shards": 1}
    rows = [{"user": u, "item": (u + i) % 9, "timestamp": i} for u in range(9) for i in range(6)]
    first = library.split(pa.Table.from_pylist(rows), **given)
    assert fetch.local(first.path).is_dir()
    second = library.split(pa.Table.from_pylist(rows[:-1]), **given, overwrite=True)
    assert (first.path, second.path) == (Uri(place), Uri(place))
    assert first.fingerprint != second.fingerprint
    copied = json.loads((fetch.local(second.path) / "manifest.json").read_text())
    assert copied["fingerprint"] == second.fingerprint


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "RUN"),
        ("recommend", "RUN", "-k", 3),
        ("report", "RUN"),
        ("baselines", "--shards", "SHARDS", "--only", "popularity"),
        (
            "data",
            "make",
            "--users",
            50,
            "--movies",
            80,
            "--ratings_per_user",
            20,
            "--format",
            "parquet",
        ),
    ],
    ids=lambda command: command[0],
)
def test_an_output_at_a_uri_is_that_of_a_path(
    command, trained, shards, tmp_path, itrec, monkeypatch
):
    object_store.machine(monkeypatch, tmp_path / "machine")
    names = {"RUN": trained, "SHARDS": shards}
    given = [names.get(one, one) for one in command]
    local, place = tmp_path / "local" / "out", Uri(f"file://{tmp_path}/store/out")
    done(itrec, *given, "--out", local)
    done(itrec, *given, "--out", place)
    written, expected = there(place), here(local)
    changing = ("environment.json", "log.jsonl")  # of time, and of the command itself
    assert {n: c for n, c in written.items() if not n.endswith(changing)} == {
        n: c for n, c in expected.items() if not n.endswith(changing)
    }
    assert set(written) == set(expected)
    code, _, err = itrec(*given, "--out", place)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{place}" in err
    assert "already exists" in err
    code, _, err = itrec(*given, "--out", "s3://KEY:SECRET@bucket/x")
    assert code == 2
    assert "carries a credential" in err
    assert "SECRET" not in err
    outputs_left = (tmp_path / "machine" / "outputs").rglob("*")
    assert [path for path in outputs_left if path.is_file()] == []


def test_what_would_not_be_read_again_or_is_no_report_is_refused(trained, tmp_path, itrec):
    place = Uri(f"file://{tmp_path}/store/page.html")
    code, _, err = itrec(
        "data", "make", "--out", place, "--users", 50, "--movies", 80, "--ratings_per_user", 20
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "--source ml-1m reads a folder on this machine alone" in err
    Store(place).write("", b"my page")
    code, _, err = itrec("report", trained, "--out", place, "--overwrite")
    assert (code, err.count("\n")) == (2, 1)
    assert "is not a report" in err
    assert there(place) == {"": b"my page"}


def test_runs_at_uris_are_compared_with_one_at_a_uri(trained, shards, tmp_path, itrec, monkeypatch):
    """A run that was only trained is evaluated for it once, and what it found is sent to it."""
    machine = object_store.machine(monkeypatch, tmp_path / "machine")
    base = Uri(f"file://{tmp_path}/store")
    run, other = base.below("run"), base.below("baselines")
    Mirror(run, trained).send({"best": 1, "last": 1})
    done(itrec, "baselines", "--shards", shards, "--only", "popularity", "--out", other)
    given = ("report", run, "--against", other, "--out", base.below("page.html"))
    assert done(itrec, *given) == f"{base}/page.html\n"
    assert b"Paired tests on the same" in Store(base).read("page.html")
    copy = shutil.copytree(trained, tmp_path / "copy")
    per_window.write(copy)
    found = (copy / "test_windows.parquet").read_bytes()
    assert Store(run).read("test_windows.parquet") == found
    assert not list(machine.rglob("state"))

    def write(*_):
        raise AssertionError("it was evaluated before")

    object_store.machine(monkeypatch, tmp_path / "another")
    monkeypatch.setattr(per_window, "write", write)
    done(itrec, *given, "--overwrite")
    code, _, err = itrec("report", run, "--against", base, "--out", base.below("no.html"))
    assert (code, err.count("\n")) == (2, 1)
    assert f"--against {base} holds 2 runs" in err


@pytest.mark.slow
def test_a_recommender_that_lives_in_a_bucket(bucket, tmp_path, itrec, monkeypatch):
    """Data, shards, run, figures, recommendations, model and report; nothing on this machine."""
    object_store.machine(monkeypatch, tmp_path / "machine")
    monkeypatch.chdir(tmp_path)
    base = f"{bucket}/shop"
    done(itrec, *MAKE, "--format", "parquet", "--out", f"{base}/data")
    given = ("window", "--source", "table", "--input", f"{base}/data/ratings.parquet",
             "--columns.rating", "rating", *CUT)  # fmt: skip
    done(itrec, *given, "--out", f"{base}/shards")
    done(itrec, *given, "--out", tmp_path / "shards")
    assert fetch.manifest_of(Uri(f"{base}/shards")).fingerprint == (
        fetch.manifest_of(tmp_path / "shards").fingerprint
    )
    run = f"{base}/run"
    done(itrec, "train", "--local", "--shards", f"{base}/shards", "--out", run, *TINY)
    done(itrec, "evaluate", run, "--out", f"{base}/figures.json")
    done(itrec, "recommend", run, "--out", f"{base}/top.parquet")
    done(itrec, "baselines", "--shards", f"{base}/shards", "--only", "popularity", "--out",
         f"{base}/baselines")  # fmt: skip
    done(itrec, "export", run, "--out", f"{base}/model")
    done(itrec, "report", run, f"{base}/baselines", "--out", f"{base}/report.html")
    machine = object_store.machine(monkeypatch, tmp_path / "another")
    done(itrec, "recommend", run, "--out", tmp_path / "top.parquet")
    assert there(Uri(f"{base}/top.parquet")) == here(tmp_path / "top.parquet")
    names = set(Store(Uri(base)).files())
    assert {"shards/manifest.json", "model/model.pt2", "report.html", "figures.json"} <= names
    assert not [name for name in names if name.endswith("_unfinished")]
    for out, *command in (
        ("shards", *given), ("figures.json", "evaluate", run), ("top.parquet", "recommend", run),
        ("model", "export", run), ("report.html", "report", run),
        ("baselines", "baselines", "--shards", f"{base}/shards", "--only", "popularity"),
    ):  # fmt: skip
        code, _, err = itrec(*command, "--out", f"{base}/{out}")
        assert (code, err.count("\n")) == (2, 1), err
        assert "already exists" in err
    done(itrec, "report", run, "--out", f"{base}/report.html", "--overwrite")
    secret = object_store.ENVIRONMENT["AWS_SECRET_ACCESS_KEY"].encode()
    for name in ("shards/manifest.json", "report.html", "figures.json"):
        assert secret not in Store(Uri(base)).read(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "another", "machine", "shards", "top.parquet"
    ]  # fmt: skip
    assert machine.is_dir()
