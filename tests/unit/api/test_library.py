"""The library from data frame to recommendations, beside the command on the same events."""

import json
import subprocess
import sys
import threading
import warnings
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import itrec_dist as itrec
from itrec_dist.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    ItrecWarning,
    OutputError,
    ShardsError,
)
from itrec_dist.losses import LOSSES
from itrec_dist.models import MODELS
from tests.cases import slow_after
from tests.fixtures import ROOT, call

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("ignore:.*were seen by their user before"),
]

USERS, ITEMS, EVENTS = 40, 20, 600
COLUMNS = {"user": "customer", "item": "sku", "timestamp": "bought_at"}
CUT = {"protocol": "leave_one_out", "max_length": 10, "num_shards": 1, "threads": 1}
OPTIONS = [word for name, value in CUT.items() for word in (f"--{name}", value)]
MODEL = itrec.models.SASRec(width=8, num_layers=1)
TINY = {
    "training": {"epochs": 1, "batch_size": 32}, "cluster": {"threads": 1},
    "evaluation": {"train_sample": 0}, "engine": {"precision": "fp32"},
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def events() -> pa.Table:
    """Purchases at times of their own, whose items follow one another more often than not."""
    draw = np.random.default_rng(4)
    users = draw.integers(0, USERS, EVENTS)
    items = (np.cumsum(draw.integers(1, 3, EVENTS)) + users) % ITEMS
    hours = draw.permutation(EVENTS).astype("timedelta64[h]")
    return pa.table({
        "customer": [f"c{user}" for user in users],
        "sku": [f"s{item}" for item in items],
        "bought_at": pa.array(np.datetime64("2024-01-01", "us") + hours),
    })  # fmt: skip


@pytest.fixture(scope="module")
def file(events, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("events") / "events.parquet"
    pq.write_table(events, path)
    return path


@pytest.fixture(scope="module")
def data(events) -> itrec.Data:
    return itrec.split(itrec.read(events, **COLUMNS), **CUT)


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> itrec.Run:
    out = tmp_path_factory.mktemp("library") / "run"
    return itrec.train(data, model=MODEL, loss="sampled_softmax", out=out, local=True, **TINY)


def window_options(file: Path, out: Path) -> list[Any]:
    columns = [word for n, v in COLUMNS.items() for word in (f"--columns.{n}", v)]
    table = ["--source", "table", "--samples", "histories", "--input", file]
    return ["window", *table, "--out", out, *OPTIONS, *columns]


def test_the_library_does_what_the_commands_do(run, data, file, tmp_path):
    """Ten lines of either give the same windows, losses, figures and recommendations."""
    shards, out, top = tmp_path / "shards", tmp_path / "run", tmp_path / "top.parquet"
    code, shown, err = call(*window_options(file, shards))
    assert (code, err) == (0, "")
    assert itrec.open(shards).fingerprint == data.fingerprint
    assert itrec.open(shards).summary() in shown
    code, _, err = call(
        "train", "--local", "--shards", shards, "--out", out, "--model.kind", "sasrec",
        "--model.width", 8, "--model.num_layers", 1, "--loss", "sampled_softmax",
        "--training.epochs", 1, "--training.batch_size", 32, "--cluster.threads", 1,
        "--evaluation.train_sample", 0, "--engine.precision", "fp32",
    )  # fmt: skip
    assert (code, err) == (0, "")
    mine, theirs = (json.loads((p / "evaluation.json").read_text()) for p in (run.path, out))
    assert mine["splits"] == theirs["splits"]
    losses = [[e["loss"] for e in itrec.load(p).events("epoch")] for p in (run.path, out)]
    assert losses[0] == losses[1]
    code, _, err = call("recommend", out, "--out", top, "--histories", file, "-k", 3)
    assert (code, err) == (0, "")
    assert run.recommend(file, k=3).equals(pq.read_table(top))
    assert run.recommend(pq.read_table(file), k=3).equals(pq.read_table(top))


def test_the_ten_lines_of_the_readme_run(events, tmp_path, monkeypatch, capsys):
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## The library")[2]
    code = text.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"frame": events}
    exec(code.replace("width=64", "width=8"), names)
    assert len(set(names["top"]["user"].to_pylist())) == USERS
    shown = capsys.readouterr().out
    assert "test: 40 windows" in shown
    assert "linear_history" in shown


def test_figures_are_a_mapping_that_prints_as_a_table(run):
    recorded = run.metrics
    assert set(recorded) == {"validation", "test"}
    again = run.evaluate("test")
    assert dict(again) == dict(recorded["test"])
    assert again["masked/ndcg@10"] == run.evaluate()["test"]["masked/ndcg@10"]
    assert "ndcg" in str(again)
    assert f"{again['masked/ndcg@10']:.4f}" in str(again)
    assert set(run.evaluate("validation", cutoffs=[3])) >= {"masked/ndcg@3"}
    assert "SASRec" in repr(run)


def test_evaluating_leaves_the_model_as_it_was(run):
    before = itrec.load(run.path).recommend([["s1", "s2"]])
    opened = itrec.load(run.path)
    opened.evaluate("validation")
    assert opened.recommend([["s1", "s2"]]).equals(before)


def frames(events: pa.Table, library: str) -> Any:
    if library == "pandas":
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = events.to_pandas()
        return frame.assign(sku=pandas.Categorical(frame["sku"]), unused=[["x"]] * EVENTS)
    if library == "polars":
        return pytest.importorskip("polars", reason="Polars is not installed").from_arrow(events)
    if library == "duckdb":
        import duckdb

        return duckdb.from_arrow(events)
    raise AssertionError(library)


@pytest.mark.parametrize("library", slow_after(1, ["pandas", "polars", "duckdb"]))
def test_a_table_in_memory_gives_the_fingerprint_of_the_file(library, events, data):
    given = itrec.read(frames(events, library), **COLUMNS)
    made = itrec.split(given, **CUT)
    assert made.fingerprint == data.fingerprint
    assert made.path == data.path  # equal data are kept once
    splits = itrec.open(str(made.path)).splits
    assert (splits["validation"], splits["test"]) == (USERS, USERS)


def test_items_and_users_may_be_in_memory_too(events, tmp_path):
    described = pa.table({"sku": [f"s{i}" for i in range(ITEMS)], "kind": ["a", "b"] * 10})
    path = tmp_path / "items.parquet"
    pq.write_table(described, path)
    made = [
        itrec.split(itrec.read(events, items=items, item_features=["kind"], **COLUMNS), **CUT)
        for items in (path, described.to_reader())
    ]
    assert len({one.fingerprint for one in made}) == 1
    assert made[0].manifest.item_features[0].values == ("a", "b")


def told(call: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises((ConfigError, DataError, OutputError, ShardsError)) as error:
        call(*arguments, **keywords)
    return str(error.value)


def test_a_mistake_is_the_sentence_of_the_command(file, data, tmp_path):
    def refused(*words: Any) -> str:
        code, _, err = call(*words)
        assert code == 2
        return err.removeprefix("itrec: error: ").rstrip()

    window, out = window_options(file, tmp_path / "a"), tmp_path / "b"
    given = itrec.read(file, **COLUMNS | {"user": "visitor"})
    assert told(itrec.split, given, **CUT) == refused(*window, "--columns.user", "visitor")
    given = itrec.read(file, **COLUMNS)
    wrong = ({"max_lenght": 3}, {"max_length": "long"}, {"protocol": "leave_two_out"})
    for settings in wrong:
        ((name, value),) = settings.items()
        assert told(itrec.split, given, **CUT | settings) == refused(*window, f"--{name}", value)
    train = ["train", "--local", "--shards", data.path, "--out", out]
    for settings, words in (
        ({"model": "sasrek"}, ["--model", "sasrek"]),
        ({"training": {"epohcs": 1}}, ["--training.epohcs", 1]),
        ({"training": {"epochs": "many"}}, ["--training.epochs", "many"]),
        ({"model": {"kind": "sasrec", "num_heads": 3}},
         ["--model.kind", "sasrec", "--model.num_heads", 3]),
        ({"model": MODEL, "loss": "mse"}, ["--model.kind", "sasrec", "--loss", "mse"]),
    ):  # fmt: skip
        assert told(itrec.train, data, out=out, local=True, **settings) == refused(*train, *words)
    assert not out.exists()
    assert "no table of events" in told(itrec.read, 5)
    assert "Events is no shards folder" in told(itrec.train, given, out=out)
    assert "give it to split" in told(itrec.read, file, protocol="leave_last")


def test_whom_a_run_recommends_to(run, events):
    lists = run.recommend([["s1", "s2"], ["s3"]], k=2)
    assert lists["user"].to_pylist() == ["0", "0", "1", "1"]
    assert lists["rank"].to_pylist() == [1, 2, 1, 2]
    named = run.recommend({"me": ["s1", "s2"], "you": ("s3",)}, k=2)
    assert named.drop_columns("user").equals(lists.drop_columns("user"))
    rows = pa.table({"customer": ["me", "you"], "sku": [["s1", "s2"], ["s3"]]})
    assert run.recommend(rows, k=2).equals(named)
    everybody = run.recommend(k=2)
    chosen = run.recommend(["c7", "c3"], k=2)
    assert chosen["user"].to_pylist() == ["c7", "c7", "c3", "c3"]
    of_all = {(r["user"], r["rank"]): r["item"] for r in everybody.to_pylist()}
    assert all(of_all[r["user"], r["rank"]] == r["item"] for r in chosen.to_pylist())
    assert "no user 'nobody'" in told(run.recommend, ["nobody"])
    among = run.recommend([["s1"]], k=2, among=["s4", "s5", "s6"], without=["s5"])
    assert set(among["item"].to_pylist()) == {"s4", "s6"}


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_recommendations_come_as_the_histories_did(library, run, events):
    given = frames(events, library)
    made = run.recommend(given, k=1)
    assert type(made) is type(given)
    table = made.to_arrow() if library == "polars" else pa.Table.from_pandas(made)
    expected = run.recommend(events, k=1)
    assert table["item"].to_pylist() == expected["item"].to_pylist()


def test_what_is_doubtful_is_warned_of(run):
    with pytest.warns(ItrecWarning, match="skipped 1 event of 1 item unknown to the model"):
        run.recommend([["s1", "unheard of"]])


def test_similar_items_and_a_file_of_recommendations(run, tmp_path):
    found = run.similar("s1", k=3)
    assert found.column_names == ["item", "title", "cosine"]
    assert found["cosine"].to_pylist() == sorted(found["cosine"].to_pylist(), reverse=True)
    with pytest.raises(CheckpointError, match="holds no checkpoint 'nowhere'; there are: best"):
        itrec.load(run.path, "nowhere").similar("s1")
    outcome = run.write_recommendations(tmp_path / "top.parquet", k=2)
    assert outcome.users == USERS
    assert pq.read_table(tmp_path / "top.parquet").equals(run.recommend(k=2))


def test_similar_items_are_those_of_the_checkpoint_that_was_opened(data, tmp_path):
    run = itrec.train(
        data, model=MODEL, loss="sampled_softmax", out=tmp_path / "run", local=True,
        checkpoints={"steps": 1, "keep_last": 2}, **TINY,
    )  # fmt: skip
    (older,) = (tmp_path / "run" / "checkpoints").glob("last-*")
    cosines = {}
    for name in ("best", "last", older.name):
        opened = itrec.load(run.path, name)
        (at,) = (i for i, s in enumerate(opened.restored.items.source_ids) if s == "s1")
        vectors_CD = opened.restored.task.model.get_parameter("item_embedding.weight")[1:]
        cosine_C = torch.cosine_similarity(vectors_CD[at][None], vectors_CD).sort().values
        expected = cosine_C.flip(0)[1:4].tolist()  # the first is the item itself
        cosines[name] = opened.similar("s1", k=3)["cosine"].to_pylist()
        assert cosines[name] == pytest.approx(expected, abs=1e-6)
    assert cosines["last"] != cosines[older.name]


def test_nothing_is_printed_and_a_thread_will_do(data, tmp_path, capfd):
    """As in a notebook, a second time in one process, and where no signal can be handled."""
    made: list[Any] = []

    def work() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = itrec.train(data, MODEL, out=tmp_path / "run", local=True, **TINY)
            made.extend((own, own.evaluate("test"), own.recommend([["s1"]])))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(made) == 3
    assert capfd.readouterr().out == ""
    assert "already exists" in told(itrec.train, data, MODEL, out=tmp_path / "run", local=True)
    itrec.train(data, MODEL, out=tmp_path / "b", local=True, verbose=True, **TINY)
    assert "epoch   1/1" in capfd.readouterr().out


def test_baselines_and_a_report(data, run, tmp_path):
    found = itrec.baselines(data, ["popularity"], out=tmp_path / "baselines")
    assert 0 <= found["popularity"]["test"]["masked/ndcg@10"] <= 1
    assert "popularity" in str(found)
    page = itrec.report([run, tmp_path / "baselines"], tmp_path / "report.html")
    assert "SASRec" in page.read_text(encoding="utf-8")


def test_lists_of_nothing_are_one_sentence(run):
    with pytest.raises(DataError, match="the list of inputs is empty"):
        itrec.read([])
    with pytest.raises(ConfigError, match="nothing to report on"):
        itrec.report([])
    for nothing in ([], [[]]):
        with pytest.raises(DataError, match="the histories name no item"):
            run.recommend(nothing)


def test_one_baseline_may_be_named_by_itself(data):
    assert list(itrec.baselines(data, "popularity")) == ["popularity"]


@pytest.mark.slow
def test_a_sweep_in_this_process(data, tmp_path, capsys):
    search = itrec.sweep(
        data, {"model.width": {"grid": [4, 8]}}, base={"model": MODEL, **TINY}, local=True,
        out=tmp_path / "sweep", search={"algorithm": "grid"}, final={"candidates": 1, "seeds": 1},
    )  # fmt: skip
    assert [trial.outcome.status for trial in search.trials] == ["complete", "complete"]
    values = {t.assignment["model.width"]: t.outcome.value for t in search.trials}
    assert search.best.settings == {"model.width": max(values, key=values.get)}
    assert search.best.run.config.model.width == search.best.settings["model.width"]
    assert search.best.test == search.best.run.metrics["test"][search.best.metric]
    assert (search.path / "report.html").is_file()
    assert capsys.readouterr().out == ""


def test_a_search_takes_the_shards_of_its_base(tmp_path):
    space, base = {"model.width": {"grid": [4, 8]}}, {"model": MODEL, "shards": tmp_path / "gone"}
    with pytest.raises(ShardsError, match=f"{tmp_path}/gone "):
        itrec.sweep(None, space, base=base, search={"algorithm": "grid"})
    del base["shards"]
    with pytest.raises(ConfigError, match="something is missing: give --shards"):
        itrec.sweep(None, space, base=base, search={"algorithm": "grid"})


def test_names_are_public_and_the_import_is_light():
    assert set(itrec.__all__) <= set(dir(itrec))
    assert all(getattr(itrec, name) is not None for name in itrec.__all__)
    with pytest.raises(AttributeError, match="no attribute 'recommend'"):
        itrec.recommend  # noqa: B018
    assert resources.files("itrec_dist").joinpath("py.typed").is_file()
    program = (
        "import sys, itrec_dist; itrec_dist.__all__; "
        "sys.exit(bool({'torch', 'ray', 'duckdb', 'pyarrow', 'jsonargparse', 'numpy'} "
        "& set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize(("module", "registry"), [("models", MODELS), ("losses", LOSSES)])
def test_every_model_and_loss_of_ours_has_a_public_name(module, registry):
    """Also for type checkers, which do not see what is looked up by name."""
    package = getattr(itrec, module)
    named = {name: getattr(package, name) for name in package.__all__ if name != module.upper()}
    assert set(named.values()) == {registry[kind] for kind in registry._own}
    text = Path(package.__file__).read_text(encoding="utf-8")
    assert all(f"{cls.__name__} as {name}\n" in text for name, cls in named.items())


@dataclass(frozen=True)
class Renamed(type(MODEL)):
    """A model that no package has registered."""


def test_a_model_of_ones_own_needs_no_registration(data, tmp_path):
    own = Renamed(width=8, num_layers=1)
    run = itrec.train(data, own, out=tmp_path / "run", local=True, **TINY)
    assert type(run.config.model).__name__ == "Renamed"
