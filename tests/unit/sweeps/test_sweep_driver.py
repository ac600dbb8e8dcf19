"""The course of a sweep without Ray: settings, resuming, failures, and what is left behind."""

import json

import pytest

from itrec_dist import config
from itrec_dist.errors import CheckpointError, ConfigError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps import checks, driver, estimate, resources
from itrec_dist.sweeps import trial as trials
from itrec_dist.sweeps.config import Runs
from itrec_dist.sweeps.directory import ranked
from itrec_dist.training.config import RunConfig
from tests.cases import slow_after
from tests.swept import FIXED, SPACE, Cut, run_here, sweep_of


def outcomes(directory):
    return [(t.number, t.assignment, t.outcome.status, t.outcome.value) for t in directory.trials()]


@pytest.fixture(scope="module")
def swept(shards, tmp_path_factory):
    """A sweep that came to its end undisturbed. Not to be changed."""
    return run_here(sweep_of(shards, tmp_path_factory.mktemp("swept") / "sweep"))


def test_a_sweep_runs_every_trial_and_judges_the_best_on_test(swept, shards):
    directory, said = swept
    found = directory.trials()
    assert [t.outcome.status for t in found] == ["complete"] * 4
    assert [t.assignment["loss"] for t in found] == ["ce", "bce", "ce", "bce"]
    places = [*directory.path.glob("trials/*/seed-*"), *directory.path.glob("finals/*/seed-*")]
    assert all(list(RunDirectory(p).tensorboard.glob("events.*")) for p in places)
    assert len(places) == 4 + 4
    best = sorted(found, key=lambda t: -t.outcome.value)[:2]
    assert {p.name for p in (directory.path / "finals").iterdir()} == {t.label for t in best}
    for trial in best:
        seeds = [r.read_json(r.evaluation)["seed"] for r in directory.finals(trial.number)]
        assert seeds == [1000, 1001]
    assert len(said) == 4 + 4
    assert "[4/4] trial 0003" in said[3]


def test_no_trial_sees_the_test_split_and_every_finalist_does(swept):
    directory, _ = swept
    for place in (directory.path / "trials").glob("*/seed-*"):
        run = RunDirectory(place)
        assert set(run.read_json(run.evaluation)["splits"]) == {"validation"}
        assert run.read_json(run.samples)["split"] == "validation"
        assert config.load(RunConfig, run.config).evaluation.judge_test is False
    for place in (directory.path / "finals").glob("*/seed-*"):
        run = RunDirectory(place)
        assert set(run.read_json(run.evaluation)["splits"]) == {"validation", "test"}


def test_the_value_of_a_trial_is_the_mean_over_its_seeds(shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "s", trials=2, seeds=2, final={"candidates": 0})
    directory, _ = run_here(sweep)
    for trial in directory.trials():
        runs = [RunDirectory(directory.run(trial.number, seed)) for seed in (0, 1)]
        judged = [r.read_json(r.evaluation)["splits"]["validation"] for r in runs]
        values = [j["unmasked"]["precision@5"] for j in judged]
        assert trial.outcome.values == tuple(values)
        assert trial.outcome.value == pytest.approx(sum(values) / 2)
    assert not (directory.path / "finals").exists()


@pytest.mark.parametrize(
    "most", [5, *(pytest.param(cut, marks=pytest.mark.slow) for cut in (1, 3, 7))]
)
def test_cut_off_anywhere_and_resumed_it_gives_the_same_table(most, swept, shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep")
    with pytest.raises(Cut):
        run_here(sweep, most=most)
    before = {p: p.stat().st_mtime_ns for p in sweep.out.rglob("evaluation.json")}
    assert len(before) == most - 1
    directory, _ = run_here(sweep, resume=True)
    assert outcomes(directory) == outcomes(swept[0])
    assert all(p.stat().st_mtime_ns == at for p, at in before.items())
    for trial in directory.trials():
        mine, theirs = directory.finals(trial.number), swept[0].finals(trial.number)
        figures = [[r.read_json(r.evaluation)["splits"] for r in runs] for runs in (mine, theirs)]
        assert figures[0] == figures[1]


@pytest.mark.slow
def test_a_run_that_was_complete_when_the_driver_died_is_not_trained_again(shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "sweep", trials=2, seeds=2, final={"candidates": 0})
    directory, _ = run_here(sweep)
    log = directory.path / "log.jsonl"
    kept = [line for line in log.read_text().splitlines() if json.loads(line)["event"] != "ended"]
    log.write_text("\n".join(kept) + "\n")
    (directory.run(1, 1) / "evaluation.json").unlink()
    before = {p: p.stat().st_mtime_ns for p in directory.path.rglob("evaluation.json")}
    run_here(sweep, resume=True)
    after = {p: p.stat().st_mtime_ns for p in directory.path.rglob("evaluation.json")}
    assert set(after) - set(before) == {directory.run(1, 1) / "evaluation.json"}
    assert all(after[p] == at for p, at in before.items())


@pytest.mark.slow
def test_more_trials_may_be_asked_for_on_resuming(shards, tmp_path):
    none = {"candidates": 0}
    run_here(sweep_of(shards, tmp_path / "sweep", trials=2, final=none))
    directory, _ = run_here(sweep_of(shards, tmp_path / "sweep", trials=4, final=none), resume=True)
    whole, _ = run_here(sweep_of(shards, tmp_path / "whole", trials=4, final=none))
    assert outcomes(directory) == outcomes(whole)
    with pytest.raises(ConfigError, match=r"trials=3.*already has 4"):
        run_here(sweep_of(shards, tmp_path / "sweep", trials=3, final=none), resume=True)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"seeds": 2}, "another seeds"),
        ({"fixed": {**FIXED, "training.epochs": 2}}, "another fixed"),
        ({"space": {**SPACE, "model.dropout": {"choice": [0.1]}}}, "another space"),
        ({"base": "paper"}, "another base"),
        ({"metric": "loss"}, "another metric"),
    ],
)
def test_another_sweep_does_not_go_on_in_its_place(change, told, swept, shards):
    sweep = sweep_of(shards, swept[0].path, **change)
    with pytest.raises(ConfigError, match=told):
        driver._check_same_sweep(checks.checked(sweep), swept[0])


def test_there_must_be_something_to_resume(shards, tmp_path):
    with pytest.raises(CheckpointError, match="no sweep to resume"):
        run_here(sweep_of(shards, tmp_path / "nothing"), resume=True)


def test_what_is_impossible_in_combination_is_refused_alone(shards, tmp_path):
    space = {"model.num_heads": {"choice": [2, 3]}, "model.num_layers": {"choice": [1, 2]}}
    sweep = sweep_of(
        shards, tmp_path / "sweep", space=space, trials=None, search={"algorithm": "grid"},
        final={"candidates": 0},
    )  # fmt: skip
    directory, said = run_here(sweep)
    found = {(t.assignment["model.num_heads"], t.outcome.status) for t in directory.trials()}
    assert found == {(2, "complete"), (3, "refused")}
    refused = [line for line in said if "refused" in line]
    assert len(refused) == 2
    assert all("num_heads=3 does not divide model.width=16" in line for line in refused)
    checked = checks.checked(sweep)
    assert len(estimate.invalid_trials(checked.runs, tmp_path, checked.assignments)) == 2


@pytest.mark.parametrize("retries", slow_after(1, [2, 0]))
def test_a_failure_is_retried_as_set_and_ends_its_trial_alone(
    retries, shards, tmp_path, monkeypatch
):
    plain, tried = trials.run_worker, []

    def failing(run, context, watch):
        if run.loss.kind == "ce":
            tried.append(run.out)
            raise RuntimeError("the disk caught fire\nand more")
        plain(run, context, watch)

    monkeypatch.setattr(trials, "run_worker", failing)
    sweep = sweep_of(shards, tmp_path / "sweep", retries=retries)
    directory, said = run_here(sweep)
    first, _, third, _ = directory.trials()
    assert [t.outcome.status for t in directory.trials()] == ["failed", "complete"] * 2
    assert first.outcome.error == "RuntimeError: the disk caught fire"
    assert first.outcome.attempts == retries + 1
    assert len(tried) == 2 * (retries + 1)
    assert "the disk caught fire" in (directory.trial(0) / "error.txt").read_text()
    assert "RuntimeError: the disk caught fire" in said[0]
    assert {p.name for p in (directory.path / "finals").iterdir()} == {"0001", "0003"}
    assert third.outcome.value is None


@pytest.mark.slow
def test_the_planted_better_configuration_wins(shards, tmp_path):
    """A learning rate that learns nothing beside one that does."""
    space = {"optimizer.learning_rate": {"choice": [1e-9, 0.01]},
             "model.dropout": {"choice": [0.0, 0.1]}}  # fmt: skip
    fixed = {**FIXED, "training.epochs": 3, "loss": "softmax"}
    sweep = sweep_of(
        shards, tmp_path / "sweep", space=space, fixed=fixed, trials=None, metric="loss",
        search={"algorithm": "grid"}, final={"candidates": 1, "seeds": 1},
    )  # fmt: skip
    directory, _ = run_here(sweep)
    best = ranked(sweep, directory.trials())
    assert [t.assignment["optimizer.learning_rate"] for t in best] == [0.01, 0.01, 1e-9, 1e-9]
    assert directory.finals(best[0].number)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"metric": "unmasked/precision@7"}, "is no figure of model.kind=ite; valid: "),
        ({"trials": None}, "needs trials"),
        ({"trials": 3, "search": {"algorithm": "grid"}}, "grid cannot list the values of optim"),
        (
            {"trials": 3, "search": {"algorithm": "grid"}, "space": {"loss": {"grid": ["ce"]}}},
            "the grid has 1 combinations",
        ),
        ({"search": {"algorithm": "random", "against": "seconds"}}, "needs search.algorithm=tpe"),
        (
            {"scheduler": {"name": "asha"}, "search": {"algorithm": "tpe", "against": "seconds"}},
            "leaves most of them unfinished",
        ),
        ({"scheduler": {"name": "asha"}, "seeds": 2}, "set seeds=1"),
        (
            {"scheduler": {"name": "asha"}, "space": {"loss": {"grid": ["ce", "bce"]}}},
            "only grids: write choice",
        ),
        ({"fixed": {"loss": "ce"}}, "is in space and in fixed"),
        ({"fixed": {"model.wdth": 3}}, "no setting model.wdth (did you mean model.width?)"),
        ({"fixed": {"model.width": "wide"}}, "model.width must be a whole number"),
        ({"base": "nosuch"}, "there is no recipe named 'nosuch'"),
        ({"base": "no/such.yaml"}, "cannot read the recipe no/such.yaml"),
        ({"space": {}}, "space is empty"),
        (
            {"trackers": {"mlflow": "http://ann:secret@host:5000"}},
            "trackers.mlflow=http://***@host:5000 carries a credential",
        ),
        ({"resources": {"cpus": 0}}, "resources.cpus must be above 0"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(change, told, shards, tmp_path):
    with pytest.raises(ConfigError) as refusal:
        checks.checked(sweep_of(shards, tmp_path / "sweep", **change))
    assert told in str(refusal.value)
    assert not (tmp_path / "sweep").exists()


def test_the_shards_of_the_base_count_where_the_sweep_names_none(shards, tmp_path):
    base = tmp_path / "base.yaml"
    base.write_text(f"shards: {shards}\nout: elsewhere\n", encoding="utf-8")
    found = checks.checked(sweep_of(None, tmp_path / "sweep", base=str(base)))
    assert found.sweep.shards == found.runs.base.shards == shards
    own = checks.checked(sweep_of(shards, tmp_path / "sweep"))
    assert found.data.fingerprint == own.data.fingerprint
    base.write_text("shards: no/such/folder\n", encoding="utf-8")
    assert checks.checked(sweep_of(shards, tmp_path / "sweep", base=str(base))).data == own.data
    with pytest.raises(ConfigError, match="something is missing: give --shards"):
        checks.checked(sweep_of(None, tmp_path / "sweep"))


@pytest.mark.parametrize(
    ("change", "cluster", "expected"),
    [
        ({}, {"CPU": 4.0}, (1, 0, 2)),
        ({"cpus": 0.5}, {"CPU": 4.0}, (0.5, 0, 4)),
        ({"cpus": 2}, {"CPU": 4.0}, (2, 0, 1)),
        ({"concurrent": 3}, {"CPU": 4.0}, (1, 0, 3)),
        ({"gpus": 0.25}, {"CPU": 16.0, "GPU": 2.0}, (1, 0.25, 8)),
        ({"gpus": 0.3}, {"CPU": 16.0, "GPU": 2.0}, (1, 0.3, 6)),
        ({"gpus": 2}, {"CPU": 16.0, "GPU": 5.0}, (1, 2, 2)),
        ({"gpus": 0}, {"CPU": 16.0, "GPU": 2.0}, (1, 0, 2)),
    ],
)
def test_trials_are_packed_on_what_there_is(change, cluster, expected, shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "s", resources=change)
    packing = resources.pack(sweep, Runs(sweep).base, cluster, cores=2.0)
    assert (packing.cpus, packing.gpus, packing.concurrent) == expected


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cpus": 8}, "resources.cpus=8 for each trial, the cluster has 4"),
        ({"gpus": 1}, "resources.gpus=1 for each trial, the cluster has 0"),
        ({"concurrent": 5}, "lower it to 4"),
    ],
)
def test_what_the_cluster_lacks_is_refused(change, told, shards, tmp_path):
    sweep = sweep_of(shards, tmp_path / "s", resources=change)
    with pytest.raises(ConfigError, match=told):
        resources.pack(sweep, Runs(sweep).base, {"CPU": 4.0}, cores=2.0)


def test_groups_are_packed_by_their_workers(shards, tmp_path):
    fixed = {**FIXED, "cluster.num_workers": 2, "training.batch_size": 32}
    sweep = sweep_of(shards, tmp_path / "s", fixed=fixed)
    runs = Runs(sweep)
    assert runs.is_grouped
    assert runs.base.cluster.threads == 1  # the base's own, not the sweep's
    packing = resources.pack_groups(sweep, runs.base, {"CPU": 8.0}, use_gpu=False)
    assert (packing.concurrent, packing.group_on_gpus) == (3, False)
    on_gpus = resources.pack_groups(sweep, runs.base, {"CPU": 64.0, "GPU": 5.0}, use_gpu=True)
    assert on_gpus.concurrent == 2
    with pytest.raises(ConfigError, match="do not fit into the cluster's 2 CPUs"):
        resources.pack_groups(sweep, runs.base, {"CPU": 2.0}, use_gpu=False)
    nine = resources.pack_groups(sweep, runs.base, {"CPU": 8.4}, use_gpu=False)
    assert nine.concurrent == 3, "four groups would leave no CPU to read with"
    checks.checked(sweep_of(shards, tmp_path / "a", fixed=fixed, scheduler={"name": "asha"}))


def test_a_large_model_gets_a_larger_part_of_a_gpu(shards, tmp_path):
    small = Runs(sweep_of(shards, tmp_path / "a")).base
    large = Runs(
        sweep_of(shards, tmp_path / "b", fixed={**FIXED, "model.feedforward_width": 20_000})
    ).base
    assert estimate.size(large).parameters > 100 * estimate.size(small).parameters
    assert estimate.size(large).bytes_on_device > estimate.size(small).bytes_on_device


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(shards, tmp_path, itrec):
    sweep = sweep_of(shards, tmp_path / "sweep")
    recipe = tmp_path / "sweep.yaml"
    code, shown, err = itrec("sweep", "--config", recipe, "--dry-run")
    assert (code, err) == (0, "")
    for words in ("trials: 4", "finals: 4 runs", "would be refused: 0 of 4", "a run of the base"):
        assert words in shown
    assert not sweep.out.exists()


@pytest.mark.parametrize(
    ("change", "combinations", "expected"),
    [
        ({}, 4, 36),
        # 36 trials of 3 epochs, 12 of 6 more, 4 of the last 3, as one of three goes on.
        ({"scheduler": {"name": "asha", "grace": 3, "reduction": 3}}, 1, (108 + 72 + 12) / 12),
        # Of each of 12 combinations one goes on to the end.
        ({"scheduler": {"name": "asha", "grace": 3, "reduction": 3}}, 12, (108 + 12 * 9) / 12),
        ({"scheduler": {"name": "asha", "grace": 12}}, 1, 36),
    ],
)
def test_the_least_that_a_scheduler_leaves_to_train(
    change, combinations, expected, shards, tmp_path
):
    sweep = sweep_of(shards, tmp_path / "s", **change)
    assert estimate.least_runs(sweep, 36, 12, combinations) == pytest.approx(expected)


def test_a_place_that_is_taken_is_refused_before_ray_is_started(swept, shards, tmp_path, itrec):
    recipe = tmp_path / "taken.yaml"
    sweep_of(shards, tmp_path / "taken")
    at = ("sweep", "--config", recipe, "--out")
    before = sorted(p for p in swept[0].path.rglob("*"))
    code, _, err = itrec(*at, swept[0].path)
    assert (code, err.count("\n")) == (2, 1)
    assert "already exists" in err
    code, _, err = itrec(*at, swept[0].path, "--resume", "--overwrite")
    assert code == 2
    assert "give one of them" in err
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("one")
    code, _, err = itrec(*at, tmp_path / "thesis", "--overwrite")
    assert code == 2
    assert "holds no sweep.yaml" in err
    code, _, err = itrec(*at, tmp_path / "nothing", "--resume")
    assert code == 2
    assert "no sweep to resume" in err
    assert sorted(p for p in swept[0].path.rglob("*")) == before
    assert not (tmp_path / "nothing").exists()
