"""Sweeps at a URI: what is there at every moment, and that any machine can go on from it."""

import json

import pytest

import itrec_dist as library
from itrec_dist.errors import CheckpointError, EnvironmentProblem, OutputError
from itrec_dist.runs import lease
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.runs.remote import Mirror
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.sweeps import checks, driver, remote
from itrec_dist.sweeps.trial import Job, Trials
from tests import object_store
from tests.swept import Cut, outcomes, run_here, sweep_of

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL = {"trials": 2, "final": {"candidates": 1, "seeds": 1}}


def at(tmp_path):
    return Uri(f"file://{tmp_path}/store/sweep")


@pytest.fixture(scope="module")
def at_path(shards, tmp_path_factory):
    """The same sweep at a path. Not to be changed."""
    return run_here(sweep_of(shards, tmp_path_factory.mktemp("swept") / "sweep", **SMALL))[0]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return object_store.machine(monkeypatch, tmp_path / "machine")


# ---------------------------------------------------------------------------- what is taken


@pytest.mark.parametrize(
    ("holds", "existing", "told"),
    [
        (["sweep.yaml", "log.jsonl"], "refuse", "already exists: choose another place, or pass"),
        (["mine.txt"], "refuse", "already exists"),
        (["mine.txt"], "overwrite", "holds no sweep.yaml, so it was not made by this command"),
        ([""], "overwrite", "is a file, a folder is needed"),
        (["log.jsonl"], "resume", "holds no sweep to resume"),
    ],
)
def test_a_place_that_is_taken_is_refused_and_left_as_it_is(
    holds, existing, told, tmp_path, machine
):
    place = at(tmp_path)
    for name in holds:
        Store(place).write(name, b"theirs")
    with (
        pytest.raises((OutputError, CheckpointError), match=told) as refused,
        remote.Session(place, existing, print),
    ):
        pass
    assert str(place) in str(refused.value)
    assert all(Store(place).read(name) == b"theirs" for name in holds)
    assert not list(machine.rglob("*.*"))


def test_one_driver_at_a_time(tmp_path, machine, monkeypatch):
    place = at(tmp_path)
    with remote.Session(place, "refuse", print) as session:
        assert Store(place).size(lease.FILE) is not None
        session.directory.recipe.write_text("a sweep")
        session.finish()
        object_store.machine(monkeypatch, tmp_path / "another")
        for existing in ("overwrite", "resume"):
            with (
                pytest.raises(OutputError, match="is being written by process"),
                remote.Session(place, existing, print),
            ):
                pass
    assert Store(place).files() == {"sweep.yaml": 7}
    assert not session.directory.path.exists()
    with remote.Session(place, "overwrite", print):
        assert set(Store(place).files()) == {lease.FILE}


@pytest.mark.parametrize("name", ["out", "base"])
def test_a_credential_is_refused_and_not_repeated(name, shards, tmp_path, monkeypatch, itrec):
    monkeypatch.chdir(tmp_path)
    given = {"base": "debug", "out": "sweep", name: "s3://KEY:SECRET@bucket/x"}
    code, _, err = itrec(
        "sweep", "--local", "--shards", shards, "--trials", 1,
        "--space", '{"optimizer.weight_decay": {"choice": [0.0]}}',
        *(f"--{option}={value}" for option, value in given.items()),
    )  # fmt: skip
    assert (code, err.count("\n")) == (2, 1)
    assert f"{name}=s3://***@bucket/x carries a credential" in err
    assert "SECRET" not in err
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------- to the end


def test_cut_off_and_resumed_on_another_machine_it_gives_the_sweep_of_a_path(
    place, at_path, shards, tmp_path, monkeypatch
):
    sweep = sweep_of(shards, place, recipes=tmp_path, **SMALL)
    with pytest.raises(Cut):
        run_here(sweep, most=2)
    store = Store(place)
    lines = [json.loads(line)["event"] for line in store.read("log.jsonl").splitlines()]
    assert lines == ["proposed", "ended", "proposed"]
    assert {"sweep.yaml", "base.yaml", "manifest.json", "environment.json"} <= set(store.files())
    whole = Mirror(place.below("trials/0000/seed-0"), tmp_path / "unused")
    assert {one.kind for one in whole.checkpoints()} == {"best", "last"}
    assert whole.store.size("evaluation.json") is not None
    assert not store.files("trials/0001")
    before = store.read("trials/0000/seed-0/environment.json")

    object_store.machine(monkeypatch, tmp_path / "another")
    directory, _ = run_here(sweep, resume=True)
    assert outcomes(directory) == outcomes(at_path)
    assert store.read("trials/0000/seed-0/environment.json") == before, "it was not trained again"
    assert lease.FILE not in store.files()

    object_store.machine(monkeypatch, tmp_path / "a third")
    found, expected = library.Sweep(place), library.Sweep(at_path.path)
    assert [t.outcome.value for t in found.trials] == [t.outcome.value for t in expected.trials]
    best, same = found.best, expected.best
    assert (best.settings, best.validation, best.test) == (
        same.settings,
        same.validation,
        same.test,
    )
    assert str(best.run.path).startswith(f"{place}/finals/")
    assert dict(best.run.evaluate("test")) == dict(same.run.evaluate("test"))
    left = [path for path in tmp_path.glob("another/*/**/*") if path.is_file()]
    assert {path.relative_to(tmp_path / "another").parts[0] for path in left} <= {
        "views", "recipes", "decoded"
    }  # fmt: skip


def test_what_stands_in_the_files_is_the_uri_and_no_folder_of_this_machine(
    shards, tmp_path, machine, itrec
):
    place = at(tmp_path)
    sweep_of(shards, place, recipes=tmp_path, **SMALL)
    code, out, err = itrec("sweep", "--local", "--config", tmp_path / "sweep.yaml")
    assert code == 0, err
    assert f"report: {place}/report.html" in out
    store = Store(place)
    for name, size in store.files().items():
        if name.endswith((".yaml", ".jsonl", ".json", ".md", ".csv", ".html")):
            assert str(machine) not in store.read(name).decode(), (name, size)
    assert f"base: {place}/base.yaml" in store.read("sweep.yaml").decode()
    assert f"out: {place}/trials/0001/seed-0" in (
        store.read("trials/0001/seed-0/config.yaml").decode()
    )
    assert not [path for path in machine.glob("*/*/store/sweep") if "views" not in path.parts]

    # The recipe that is there is enough to go on with more trials.
    (tmp_path / "theirs.yaml").write_bytes(store.read("sweep.yaml"))
    given = ("sweep", "--local", "--config", tmp_path / "theirs.yaml")
    code, _, err = itrec(*given)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{place} already exists" in err
    code, out, err = itrec(*given, "--resume", "--trials", 3)
    assert code == 0, err
    assert "[3/3] trial 0002" in out
    written = store.read("results.csv")

    # `itrec report` writes page and tables again, where they were.
    store.remove("results.csv")
    code, out, err = itrec("report", place)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{place}/report.html already exists" in err
    code, out, err = itrec("report", place, "--overwrite")
    assert (code, out) == (0, f"{place}/report.html\n"), err
    assert store.read("results.csv") == written
    code, out, err = itrec("report", place, place, "--out", tmp_path / "runs.html")
    assert code == 0, err


# ---------------------------------------------------------------------------- outages


def test_an_outage_of_the_log_is_said_once_and_caught_up(tmp_path, machine, monkeypatch):
    said, place = [], at(tmp_path)
    plain = Store.upload

    def upload(store, path, name):
        if out:
            raise EnvironmentProblem(f"{store} cannot be reached: the cable is out")
        plain(store, path, name)

    out = []
    monkeypatch.setattr(Store, "upload", upload)
    with (
        pytest.raises(OutputError, match="the sweep's own files are in"),
        remote.Session(place, "refuse", said.append) as session,
    ):
        directory = session.directory
        directory.append("proposed", trial=0, assignment={})
        out.append("now")
        directory.append("proposed", trial=1, assignment={})
        directory.append("proposed", trial=2, assignment={})
        assert len(said) == 1
        assert f"its log is kept in {directory.path}" in said[0]
        out.clear()
        directory.append("proposed", trial=3, assignment={})
        assert Store(place).read("log.jsonl") == (directory.path / "log.jsonl").read_bytes()
        directory.recipe.write_text("a sweep")
        directory.send()
        out.append("again")
        directory.append("proposed", trial=4, assignment={})
        assert len(said) == 2
        session.finish()
    out.clear()
    with remote.Session(place, "resume", said.append) as session:
        assert len(session.directory.events("proposed")) == 5, "the lines that were not sent"
        session.finish()
    assert Store(place).read("log.jsonl").count(b"\n") == 5


def test_the_end_of_a_run_that_an_outage_kept_back_is_sent_and_not_trained_again(
    shards, tmp_path, machine, monkeypatch
):
    place = at(tmp_path)
    sweep = sweep_of(shards, place, recipes=tmp_path, trials=1, retries=0)
    plain, trained = Store.upload, []

    def upload(store, path, name):
        if name == "evaluation.json":
            raise EnvironmentProblem(f"{store} cannot be reached: the cable is out")
        plain(store, path, name)

    checked = checks.checked(sweep)
    job = Job(0, checked.assignments[0], (0,))
    with remote.Session(place, "refuse", print) as session:
        driver._prepare(checked, session.directory, resume=False)
    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", upload)
        lost = Trials(checked.sweep).work(job, lambda *_: None)
    assert (lost.status, lost.transient) == ("failed", True)
    assert "the cable is out" in lost.error
    assert b"the cable is out" in Store(place).read("trials/0000/error.txt")
    monkeypatch.setattr("itrec_dist.sweeps.trial.run_worker", lambda *_: trained.append(1))
    found = Trials(checked.sweep).work(job, lambda *_: None)
    assert (found.status, trained) == ("complete", [])
    assert Store(place.below("trials/0000/seed-0")).size("evaluation.json") is not None
    assert not [path for path in (machine / "runs").rglob("*") if path.is_file()]


# ---------------------------------------------------------------------------- populations


@pytest.mark.slow
def test_a_population_at_a_uri_exchanges_as_one_at_a_path(place, shards, tmp_path, monkeypatch):
    """On another machine after each cut, which has neither weights nor log."""
    given = {
        "space": {"optimizer.learning_rate": {"choice": [1e-9, 0.003, 0.02]}},
        "fixed": {"training.epochs": 3, "evaluation.train_sample": 0, "loss": "softmax"},
        "trials": 3, "metric": "loss", "final": {"candidates": 1, "seeds": 1},
        "scheduler": {"name": "pbt", "interval": 1, "reduction": 3},
    }  # fmt: skip
    expected, _ = run_here(sweep_of(shards, tmp_path / "path", **given))
    sweep = sweep_of(shards, place, recipes=tmp_path, **given)
    with pytest.raises(Cut):
        run_here(sweep, most=5)
    object_store.machine(monkeypatch, tmp_path / "second")
    with pytest.raises(Cut):
        run_here(sweep, most=3, resume=True)
    object_store.machine(monkeypatch, tmp_path / "third")
    directory, _ = run_here(sweep, resume=True)
    assert outcomes(directory) == outcomes(expected)
    assert [t.stages for t in directory.trials()] == [t.stages for t in expected.trials()]
    assert directory.events("exchange")[0]["taken"]
    runs = [RunDirectory(library.load(str(directory.run_place(n, 0))).directory.path)
            for n in range(3)]  # fmt: skip
    told = [json.loads(run.environment.read_text())["run"] for run in runs]
    assert len(set(told)) == 3
