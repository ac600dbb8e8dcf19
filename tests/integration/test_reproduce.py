"""`itrec reproduce`: three protocols and one arm for one epoch, on a small generated data set.

Runs are trained in this process, but for one that is trained as all are for a person: in its own.
"""

import contextlib
import json
import os
import shutil

import pytest

import itrec_dist as library
from itrec_dist.data import manifest
from itrec_dist.data.shards import fetch
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.launch.start import train
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri
from itrec_dist.studies import runner
from itrec_dist.studies.ite import STUDY
from itrec_dist.studies.runner import StudyConfig, is_done, planned
from itrec_dist.tasks.next_items.data import DATA
from tests import object_store

ARM = "bce-none"
PROTOCOLS = STUDY.protocols


def reproduce(itrec, ratings, out, *more):
    return itrec(
        "reproduce", "paper", "--input", ratings, "--out", out, "--epochs", 1,
        "--arms", f"[{ARM}]", *more,
    )  # fmt: skip


class Here:
    """Trains one run after the other in this process."""

    def train(self, run):
        train(run, local=True, existing="overwrite")

    def end(self):
        """Nothing is left running."""


@contextlib.contextmanager
def trained_here():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_Children", Here)
        yield


def written_at(out):
    """When each run's judgement was written, and what it found for each test window."""
    names = ("evaluation.json", "test_windows.parquet")
    found = (p for name in names for p in (out / "runs").rglob(name))
    return {str(p.relative_to(out)): p.stat().st_mtime_ns for p in found}


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "ratings"
    generate(SyntheticConfig(users=60, movies=120, ratings_per_user=30.0), folder)
    return folder


@pytest.fixture(scope="module")
def study(ratings, tmp_path_factory, itrec):
    out = tmp_path_factory.mktemp("study") / "out"
    with trained_here():
        code, shown, err = reproduce(itrec, ratings, out, "--jobs", 1)
    assert code == 0, err
    return out, shown


def test_every_protocol_arm_and_baseline_is_run_and_reported(study):
    out, shown = study
    assert {p.name for p in (out / "shards").iterdir()} == set(PROTOCOLS)
    for protocol in PROTOCOLS:
        run = RunDirectory(out / "runs" / protocol / ARM / "seed-0")
        assert run.is_complete
        assert len(run.events("epoch")) == 1
        data = manifest.read(out / "shards" / protocol)
        assert run.read_json(run.evaluation)["fingerprint"] == data.fingerprint
        chosen = DATA.baselines.default(data)
        for name in chosen:
            assert RunDirectory(out / "runs" / protocol / "baselines" / name).is_complete
        assert f"{protocol} {ARM} seed-0: " in shown
    assert "3 runs, 0 complete" in shown
    assert f"report: {out / 'report.html'}" in shown
    assert not list(out.rglob("seed-*.yaml"))
    results = (out / "results.md").read_text(encoding="utf-8")
    assert "ITE bce none" in results
    for name in chosen:
        assert name in results
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "ITE bce none" in page


@pytest.mark.slow
def test_what_is_complete_is_not_run_again_and_the_report_is_written_anew(
    study, ratings, tmp_path, itrec
):
    out = tmp_path / "out"
    shutil.copytree(study[0], out, copy_function=shutil.copy2)
    # The runs know their place: those of the copy are other runs, unless their place is put right.
    for file in (out / "runs").rglob("seed-*/config.yaml"):
        file.write_text(file.read_text().replace(str(study[0]), str(out)))
    before = written_at(out)
    (out / "report.html").unlink()
    (out / "results.md").write_text("old")
    code, shown, err = reproduce(itrec, ratings, out)
    assert code == 0, err
    assert "3 runs, 3 complete" in shown
    assert written_at(out) == before
    for name in ("report.html", "results.md"):
        assert "ITE bce none" in (out / name).read_text(encoding="utf-8")

    interrupted = out / "runs" / "leave-last" / ARM / "seed-0" / "evaluation.json"
    figures = json.loads(interrupted.read_text())
    interrupted.unlink()
    lost = out / "runs" / "paper-90-10" / "baselines" / "ridge"
    shutil.rmtree(lost)
    windows = [out / "runs" / name / ARM / "seed-0" / "test_windows.parquet"
               for name in ("leave-last", "paper-80-10-10")]  # fmt: skip
    windows[1].unlink()  # as in the folder of a version that did not record them
    code, shown, err = reproduce(itrec, ratings, out)
    assert code == 0, err
    assert "3 runs, 2 complete" in shown
    after = written_at(out)
    assert set(after) == set(before)
    changed = {name for name in before if after[name] != before[name]}
    again = {str((lost.parent / name / "evaluation.json").relative_to(out)) for name in
             DATA.baselines.default(manifest.read(out / "shards" / "paper-90-10"))}  # fmt: skip
    assert changed == {*(str(p.relative_to(out)) for p in (interrupted, *windows)), *again}
    assert json.loads(interrupted.read_text()) == figures  # the same seed, the same figures


@pytest.mark.slow
def test_a_study_at_a_uri_goes_on_on_another_machine(study, ratings, tmp_path, monkeypatch, itrec):
    """Its figures are those of a path; nothing complete is run again."""
    place = Uri(f"file://{tmp_path}/store/study")
    object_store.machine(monkeypatch, tmp_path / "machine")
    with trained_here():
        given = ("--jobs", 1, "--protocols", "[leave-last,paper-80-10-10]")
        code, shown, err = reproduce(itrec, ratings, place, *given)
    assert code == 0, err
    assert "2 runs, 0 complete" in shown
    assert f"report: {place}/report.html" in shown
    store = Store(place)
    for protocol in ("leave-last", "paper-80-10-10"):
        for name in (
            f"shards/{protocol}/manifest.json",
            f"runs/{protocol}/{ARM}/seed-0/test_windows.parquet",
            f"runs/{protocol}/baselines/popularity/evaluation.json",
        ):  # fmt: skip
            assert store.size(name) is not None
        judged = f"runs/{protocol}/{ARM}/seed-0/evaluation.json"
        assert (
            json.loads(store.read(judged))["splits"]
            == (json.loads((study[0] / judged).read_text())["splits"])
        )
    assert "ITE bce none" in store.read("results.md").decode()
    kept = {name: store.read(name) for name in store.files() if name.endswith("environment.json")}
    lost = f"runs/leave-last/{ARM}/seed-0/evaluation.json"
    store.remove(lost)
    store.remove("report.html")

    object_store.machine(monkeypatch, tmp_path / "another")
    fetch.forget()
    with trained_here():
        code, shown, err = reproduce(itrec, ratings, place, *given)
    assert code == 0, err
    assert "2 runs, 1 complete" in shown
    changed = {name for name, content in kept.items() if store.read(name) != content}
    assert changed == {lost.replace("evaluation", "environment")}
    assert "ITE bce none" in store.read("report.html").decode()
    done = library.reproduce(
        "paper", ratings, out=str(place), arms=[ARM], epochs=1,
        protocols=["leave-last", "paper-80-10-10"],
    )  # fmt: skip
    assert done.results == store.read("results.md").decode()
    assert [str(run.path) for run in done.runs] == [
        f"{place}/runs/{name}/{ARM}/seed-0" for name in ("leave-last", "paper-80-10-10")
    ]
    code, _, err = reproduce(itrec, ratings, "s3://KEY:SECRET@bucket/x")
    assert (code, err.count("\n")) == (2, 1)
    assert "carries a credential" in err
    assert "SECRET" not in err


def test_another_number_of_epochs_is_another_run(study, ratings, tmp_path):
    """Checked on the plan alone: nothing is trained here."""
    out = study[0]
    shards = {name: out / "shards" / name for name in PROTOCOLS}
    one, two = (StudyConfig(arms=(ARM,), epochs=epochs) for epochs in (1, 2))
    done = [is_done(run) for run in planned(STUDY, out, shards, one)]
    assert done == [True, True, True]
    other = [is_done(run) for run in planned(STUDY, out, shards, two)]
    assert other == [False, False, False]


@pytest.mark.parametrize("change", ["another folder", "changed in place", "another format"])
def test_other_ratings_are_refused_before_anything_is_done(change, study, ratings, tmp_path, itrec):
    out = tmp_path / "out"
    shutil.copytree(study[0] / "shards", out / "shards")
    other, more = tmp_path / "other", []
    shutil.copytree(ratings, other)
    if change == "another format":
        other, more = ratings, ["--source", "ml-100k"]
    else:
        lines = (other / "ratings.dat").read_text().splitlines()
        (other / "ratings.dat").write_text("\n".join(lines[:-1]) + "\n")
        if change == "changed in place":
            for file in (out / "shards").glob("*/manifest.json"):
                file.write_text(file.read_text().replace(str(ratings), str(other)))
    before = sorted(p for p in out.rglob("*") if p.is_file())
    code, _, err = reproduce(itrec, other, out, *more)
    assert code == 2
    assert err.startswith(f"itrec: error: {out} holds a study of other ratings")
    assert err.count("\n") == 1
    assert sorted(p for p in out.rglob("*") if p.is_file()) == before


def test_a_folder_of_something_else_is_refused(ratings, tmp_path, itrec):
    (tmp_path / "thesis.txt").write_text("three years")
    code, _, err = reproduce(itrec, ratings, tmp_path)
    assert code == 2
    assert "holds something other than a study" in err
    assert os.listdir(tmp_path) == ["thesis.txt"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--arms", "[bce-nobody]"], STUDY.arms[0].name),
        (["--seeds", "0"], "seeds=0"),
        (["--jobs", "0"], "jobs=0"),
        (["--epochs", "0"], "epochs=0"),
        (["--source", "ml-20m"], "needs user and movie features"),
        (["--input", "no/such/folder"], "no/such/folder"),
    ],
)
def test_a_bad_setting_is_one_sentence(given, told, ratings, tmp_path, itrec):
    out = tmp_path / "out"
    code, _, err = itrec("reproduce", "paper", "--input", ratings, "--out", out, *given)
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert not [p for p in out.rglob("*") if p.is_file()]
