"""Another package adds a model, a loss, a metric, a baseline, a source and a task.

One file or folder each, named in its `pyproject.toml`; no file of `itrec_dist` changes. They
go through window, train, sweep, report, recommend and evaluate together.
"""

import importlib.util
import json
import random
import sys
import tomllib
import warnings
from datetime import date, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import itrec_dist
from itrec_dist import metrics, testing
from itrec_dist.data import manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.data.sources import SOURCES
from itrec_dist.errors import ItrecWarning
from itrec_dist.losses import LOSSES
from itrec_dist.metrics import METRICS
from itrec_dist.models import MODELS
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.tasks import TASKS
from itrec_dist.tasks.next_items.baselines import BASELINES
from tests.swept import run_here, sweep_of

HERE = Path(__file__).parent
ADDED = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["entry-points"]
REGISTRIES = (MODELS, LOSSES, METRICS, SOURCES, TASKS, BASELINES)
READERS, BOOKS, LOANS = 24, 30, 12
SHORT = ("--training.batch_size", 64, "--evaluation.train_sample", 0, "--cluster.threads", 1)


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory):
    """The package, as pip would have installed it."""
    info = tmp_path_factory.mktemp("site") / "bookshop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bookshop\nVersion: 1.0\n")
    lines = [
        line
        for group, entries in ADDED.items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    kept = [vars(registry).pop("_installed", None) for registry in REGISTRIES]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(info.parent)
        patch.syspath_prepend(HERE)
        yield
    for registry, before in zip(REGISTRIES, kept, strict=True):
        vars(registry).pop("_installed", None)
        if before is not None:
            vars(registry)["_installed"] = before
    metrics._made.pop("f1", None)
    for name in [name for name in sys.modules if name.partition(".")[0] == "bookshop"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("bookshop")


@pytest.fixture(scope="module")
def loans(place):
    """Every reader goes along the shelf from a place of their own, a few books at a time."""
    draw = random.Random(0)
    lines = []
    for who in range(READERS):
        book = draw.randrange(BOOKS)
        for turn in range(LOANS):
            book = (book + draw.choice((1, 1, 1, 2))) % BOOKS
            day = date(2024, 1, 1) + timedelta(days=10 * turn + draw.randrange(9))
            lines.append(f"reader {who}|book {book}|{day}|{draw.randint(1, 5)}")
    path = place / "loans.txt"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def shards(loans, place, itrec):
    """The loans as windows of one target, read by their source and cut by their task."""
    code, out, err = itrec(
        "window", "next_one", "--source", "loans", "--input", loans, "--separator", "|",
        "--out", place / "shards", "--input_length", 4, "--threads", 1,
    )  # fmt: skip
    assert code == 0, err
    assert "inputs_not_before" in out
    return place / "shards"


@pytest.fixture(scope="module")
def run(shards, place, itrec):
    """Their model; loss and monitor are the defaults of their task."""
    code, out, err = itrec(
        "train", "--local", "--shards", shards, "--out", place / "runs" / "causal",
        "--model.kind", "causal", "--loss.negatives", 4,
        "--optimizer.learning_rate", 0.03, "--training.epochs", 20, *SHORT,
    )  # fmt: skip
    assert code == 0, err
    assert "f1" in out
    return place / "runs" / "causal"


def test_each_addition_is_one_file_or_folder_and_there_is_nothing_else():
    """Of a source and of a task the SQL folder besides."""
    package = HERE / "bookshop"
    files = {p for p in package.rglob("*") if p.suffix in (".py", ".sql")}
    added = {}
    for group, entries in ADDED.items():
        (value,) = entries.values()
        path = Path(importlib.util.find_spec(value.partition(":")[0]).origin)
        added[group] = path if path.parent == package else path.parent
    assert len(added) == len(REGISTRIES)
    loans = package / "sql" / "loans"
    covered = {f for f in files if {f, *f.parents} & {*added.values(), loans}}
    assert files - covered == {package / "__init__.py"}


def test_their_model_keeps_what_models_promise():
    testing.check_model(MODELS["causal"](), loss=LOSSES["softmax"]())


def test_their_other_parts_keep_what_such_parts_promise(loans):
    testing.check_loss(LOSSES["sampled"](negatives=4))
    testing.check_metric(METRICS["f1"])
    testing.check_baseline(BASELINES["shelf"]())
    testing.check_source(SOURCES["loans"](separator="|"), loans)


def test_their_baseline_is_judged_beside_ours_with_its_own_settings(loans, place):
    events = itrec_dist.read(loans, source="loans", separator="|")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ItrecWarning)  # so few readers
        data = itrec_dist.split(events, protocol="leave_one_out", out=place / "histories")
        near, far = (
            itrec_dist.baselines(data, ["popularity", "shelf"], shelf={"step": step}, seen="none")
            for step in (0, 1000)
        )
    assert list(near) == ["popularity", "shelf"]
    assert near["popularity"]["test"] == far["popularity"]["test"]
    assert near["shelf"]["test"].judgement.num_windows == READERS
    # Nearest is the newest item itself; a thousand further, the last item of the catalogue.
    assert (
        near["shelf"]["test"]["unmasked/coverage@5"] > far["shelf"]["test"]["unmasked/coverage@5"]
    )


def test_they_are_listed_beside_ours(itrec):
    for arguments, words in (
        (("train", "--model.kind", "?"), "causal, "),
        (("train", "--loss", "?"), "sampled, "),
        (("window", "--source", "?"), "loans, "),
        (("window", "--task", "?"), "next_one, "),
    ):
        code, _, err = itrec(*arguments)
        assert code == 2
        assert words in err
    _, text, _ = itrec("window", "--source", "loans", "--help")
    assert "--separator" in text
    assert "--columns.user" not in text
    assert "--source SOURCE" in text
    assert "f1" in metrics.registered()


def test_the_windows_are_those_of_their_source_and_task(shards, loans):
    made = manifest.read(shards)
    assert (made.task, made.protocol, made.source["format"]) == ("next_one", "last_one", "loans")
    assert made.source["files"][0]["name"] == "loans.txt"
    assert {"loans/ratings", "next_one/dealt", "next_one/windows", "shared/users"} <= set(made.sql)
    assert made.num_users == READERS
    assert [made.num_windows(s) for s in ("train", "validation", "test")] == [
        READERS * (LOANS - 3), READERS, READERS,
    ]  # fmt: skip
    targets = read_split(shards, made, "test").target_ids[:, 0]
    names = reader.read_items(shards, made).source_ids
    lines = [line.split("|") for line in loans.read_text().splitlines()]
    last = {who: book for who, book, _, _ in sorted(lines, key=lambda line: line[2])}
    readers = reader.read_users(shards, made).source_ids
    assert [names[item - 1] for item in targets] == [last[who] for who in readers]


def test_a_setting_of_their_source_belongs_to_it(loans, place, itrec):
    given = ("--input", loans, "--out", place / "refused", "--threads", 1)
    code, _, err = itrec("window", "--source", "ml-1m", "--separator", "|", *given)
    assert code == 2
    assert "separator" in err
    code, _, err = itrec("window", "next_one", "--source", "loans", "--columns.user", "x", *given)
    assert code == 2
    assert "columns.user" in err
    code, _, err = itrec("window", "next_one", "--source", "loans", *given)  # not separated by ;
    assert code == 2
    assert f"{loans}: row 1 cannot be read" in err
    assert not (place / "refused").exists()


def test_a_source_is_found_in_a_module_too(shards, loans, place, itrec):
    code, _, err = itrec(
        "window", "bookshop.next_one.task:NextOne", "--source", "bookshop.loans:LoansConfig",
        "--input", loans, "--separator", "|", "--out", place / "again", "--input_length", 4,
    )  # fmt: skip
    assert code == 0, err
    again, made = manifest.read(place / "again"), manifest.read(shards)
    assert again.fingerprint == made.fingerprint
    assert again.source["format"] == "bookshop.loans:LoansConfig"


def test_their_model_learns_by_their_loss_and_their_figure_chooses_its_best_epoch(run):
    config = RunDirectory(run).config.read_text()
    assert "kind: sampled\n  negatives: 4" in config
    assert "monitor: masked/f1@10" in config
    epochs = RunDirectory(run).events("epoch")
    assert epochs[-1]["loss"] < epochs[0]["loss"]
    judged = json.loads((run / "evaluation.json").read_text())["splits"]["test"]["masked"]
    # One target: F1 at 10 is 2 / 11 of a hit.
    assert judged["f1@10"] == pytest.approx(judged["hit_rate@10"] * 2 / 11)
    assert judged["hit_rate@10"] > 0.5  # chance is a third


def test_its_checkpoint_is_evaluated_to_the_same_figures(run, place, itrec):
    code, out, err = itrec("evaluate", run, "--out", place / "judged.json")
    assert code == 0, err
    assert "f1" in out
    again = json.loads((place / "judged.json").read_text())["splits"]
    assert again == json.loads((run / "evaluation.json").read_text())["splits"]


def test_it_recommends_books_that_were_not_lent(run, loans, place, itrec):
    code, _, err = itrec("recommend", run, "--out", place / "books.parquet", "-k", 3)
    assert code == 0, err
    rows = pq.read_table(place / "books.parquet").to_pylist()
    lent = {tuple(line.split("|")[:2]) for line in loans.read_text().splitlines()}
    assert len(rows) == 3 * READERS
    assert not {(row["user"], row["item"]) for row in rows} & lent


def test_a_search_over_a_setting_of_their_loss_is_judged_and_reported(shards, place, itrec):
    recipe = place / "causal.yaml"
    recipe.write_text("model: {kind: causal, width: 8}\nloss: sampled\n", encoding="utf-8")
    sweep = sweep_of(
        shards, place / "sweep", base=recipe, metric="masked/f1@10", trials=2,
        space={"loss.negatives": {"grid": [2, 6]}}, final={"candidates": 1, "seeds": 1},
        fixed={"training.epochs": 1, "evaluation.train_sample": 0, "cluster.threads": 1},
    )  # fmt: skip
    directory, _ = run_here(sweep)
    assert {t.assignment["loss.negatives"] for t in directory.trials()} == {2, 6}
    assert all(0 < t.outcome.value < 1 for t in directory.trials())
    code, _, err = itrec("report", place / "sweep")
    assert code == 0, err
    page = (place / "sweep" / "report.html").read_text()
    assert "loss.negatives" in page
    assert "F1@10" in page


def test_the_report_shows_their_run_and_figure(run, itrec):
    code, _, err = itrec("report", run.parent)
    assert code == 0, err
    page = (run.parent / "report.html").read_text()
    assert "causal sampled" in page
    assert "F1@10" in page
    assert "F1: harmonic mean of precision and recall." in page
