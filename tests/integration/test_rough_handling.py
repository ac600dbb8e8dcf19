"""Handling that no manual foresees: each ends in one clear sentence, or simply works."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
import yaml

from itrec_dist.cli import app
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.fixtures import DEBUG_RECIPE


def itrec(capsys, *arguments):
    """Exit code and what was printed on standard output and standard error."""
    code = app.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def refusal(capsys, *arguments):
    """The one sentence with which a command refuses."""
    code, _, told = itrec(capsys, *arguments)
    assert code == 2
    assert told.startswith("itrec: error: ")
    assert told.count("\n") == 1
    return told


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rough") / "generated"
    size = ("--users", "60", "--movies", "80", "--ratings_per_user", "20")
    assert app.main(["data", "make", "--out", str(folder), *size]) == 0
    return folder


def train(capsys, shards, out, *more):
    given = ("--config", DEBUG_RECIPE, "--training.epochs=1")
    return itrec(capsys, "train", "--local", "--shards", shards, "--out", out, *given, *more)


def test_a_run_without_anything_held_out_is_trained_and_reported(generated, tmp_path, capsys):
    shards, run, page = tmp_path / "shards", tmp_path / "runs" / "a", tmp_path / "report.html"
    window("ml-1m", generated, shards, WindowConfig(validation_fraction=0.0))
    assert train(capsys, shards, run)[0] == 0
    assert itrec(capsys, "report", tmp_path / "runs", "--out", page)[0] == 0
    assert "nothing is held out" in page.read_text(encoding="utf-8")
    assert "nothing to evaluate" in refusal(capsys, "evaluate", run)


def test_evaluate_names_the_windows_that_it_judged_and_keeps_earlier_files(
    generated, tmp_path, capsys
):
    shards, other, run = tmp_path / "shards", tmp_path / "other", tmp_path / "run"
    window("ml-1m", generated, shards, WindowConfig())
    made = window("ml-1m", generated, other, WindowConfig(seed=1))
    assert train(capsys, shards, run)[0] == 0
    out = tmp_path / "judged.json"
    again = ("evaluate", run, "--shards", other, "--out", out)
    assert itrec(capsys, *again)[0] == 0
    assert json.loads(out.read_text())["fingerprint"] == made.fingerprint
    assert "already exists" in refusal(capsys, *again)
    assert itrec(capsys, *again, "--overwrite")[0] == 0
    assert "--shards" not in refusal(capsys, "evaluate", run, "--shards", out)


def test_recommend_counts_the_users_who_have_anything_left(tmp_path, capsys):
    events = tmp_path / "events.csv"
    seen = {"all": "abc", "some": "ab", "most": "cab"}
    rows = [f"{u},{i},{t}" for u, items in seen.items() for t, i in enumerate(items * 3)]
    events.write_text("\n".join(["user,item,timestamp", *rows]) + "\n")
    shards, run, out = tmp_path / "shards", tmp_path / "run", tmp_path / "top.parquet"
    settings = WindowConfig(
        min_user_events=1, input_length=2, target_length=1, stride=1, validation_fraction=0.2
    )
    window("table", events, shards, settings)
    assert train(capsys, shards, run, "--model.side_information=none")[0] == 0
    code, told, _ = itrec(capsys, "recommend", run, "--out", out, "-k", "3")
    assert code == 0
    assert "for 1 user " in told
    assert pq.read_table(out)["user"].to_pylist() == ["some"]
    assert pq.read_table(out)["item"].to_pylist() == ["c"]


def test_real_ratings_are_never_replaced_by_generated_ones(generated, tmp_path, capsys):
    real = tmp_path / "ml-1m"
    shutil.copytree(generated, real)
    again = ("data", "make", "--out", real, "--users", "5", "--overwrite")
    assert itrec(capsys, *again)[0] == 0
    (real / "README").write_text("SUMMARY\n")
    before = (real / "ratings.dat").read_bytes()
    assert "not generated" in refusal(capsys, *again)
    assert (real / "ratings.dat").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"ml-1m"}


def test_more_users_than_memory_holds_are_refused(tmp_path, capsys):
    told = refusal(capsys, "data", "make", "--out", tmp_path / "a", "--users", "50000000")
    assert "at most 2000000" in told


def test_what_reproduce_prints_it_reads_back(generated, tmp_path, capsys):
    def printed(*arguments):
        with pytest.raises(SystemExit) as left:
            app.main(["reproduce", *map(str, arguments)])
        assert left.value.code == 0
        return capsys.readouterr().out

    given = ("--input", generated, "--out", tmp_path / "out", "--seeds", "2", "--print-config")
    first = printed("paper", *given)
    recipe = tmp_path / "study.yaml"
    recipe.write_text(first)
    assert yaml.safe_load(first)["seeds"] == 2
    assert printed("paper", "--config", recipe, "--print-config") == first


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        (("train",), "--shards, --out"),
        (("data", "get"), "NAME, --to"),
        (("report",), "RUN"),
        (("recommend", "run"), "the Parquet file to write"),
    ],
)
def test_what_is_missing_is_named_as_it_is_written(arguments, needed, capsys):
    assert refusal(capsys, *arguments).endswith(f"give {needed}\n")


def test_a_recipe_that_is_data_is_not_poured_onto_the_screen(tmp_path, capsys):
    recipe = tmp_path / "events.csv"
    recipe.write_text("user,item,timestamp\n" + "a,b,1\n" * 1000)
    told = refusal(capsys, "train", "--config", recipe)
    assert len(told) < 300


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no.such.host.invalid:6379", "127.0.0.1:99999"])
def test_a_missing_cluster_is_reported_at_once(generated, tmp_path, capsys, address):
    shards, out = tmp_path / "shards", tmp_path / "run"
    window("ml-1m", generated, shards, WindowConfig())
    given = ("--shards", shards, "--out", out, "--address", address)
    told = refusal(capsys, "train", *given)
    assert f"no Ray cluster answers at {address}" in told
    assert not out.exists()
