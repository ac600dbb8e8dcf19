"""Population-based training: who takes over from whom, and that nothing of it is lost."""

import json
import random
import shutil
from dataclasses import replace

import pytest
import torch

from itrec_dist import config
from itrec_dist.config.fields import CHANGEABLE, marked
from itrec_dist.engines.optimizers import rate_factor
from itrec_dist.errors import ConfigError
from itrec_dist.reports.sweep import answer, schedule
from itrec_dist.reports.sweep import runs as sweep_runs
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.sweeps import checks, driver, population
from itrec_dist.sweeps import trial as trials
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.sweeps.directory import ranked
from itrec_dist.sweeps.space import parse
from itrec_dist.sweeps.trial import Job, Trials
from itrec_dist.training.config import RunConfig
from tests.swept import Cut, run_here, sweep_of

SPACE = {
    "optimizer.learning_rate": {"choice": [1e-9, 0.003, 0.02]},
    "model.dropout": {"uniform": [0.0, 0.3]},
    "model.num_layers": {"choice": [1, 2]},
}
FIXED = {"training.epochs": 5, "evaluation.train_sample": 0, "loss": "softmax",
         "training.log_seconds": 0.0}  # fmt: skip


def population_of(shards, out, **changes):
    """Four trials of five epochs, with exchanges after the second and the fourth."""
    given = {
        "space": SPACE, "fixed": FIXED, "trials": 4, "metric": "loss", "search": {"seed": 3},
        "scheduler": {"name": "pbt", "interval": 2, "reduction": 2},
        "final": {"candidates": 1, "seeds": 1}, **changes,
    }  # fmt: skip
    return sweep_of(shards, out, **given)


def told(directory):
    return [(t.number, t.assignment, t.stages, t.outcome.value) for t in directory.trials()]


def losses(run):
    """Validation loss by epoch; the last line of an epoch holds."""
    return {e["epoch"]: e["validation"]["loss"] for e in run.events("epoch")}


@pytest.fixture(scope="module")
def trained_population(shards, tmp_path_factory):
    """A population that came to its end undisturbed. Not to be changed."""
    return run_here(population_of(shards, tmp_path_factory.mktemp("population") / "sweep"))


@pytest.mark.slow
def test_the_worst_go_on_from_the_best_with_settings_that_differ(trained_population):
    directory, said = trained_population
    exchanges = directory.events("exchange")
    assert [e["epoch"] for e in exchanges] == [2, 4]
    for exchange in exchanges:
        reached = {
            e["trial"]: e["value"] for e in directory.events("reached")
            if e["epoch"] == exchange["epoch"]
        }  # fmt: skip
        order = sorted(reached, key=lambda n: reached[n])
        assert len(reached) == 4
        assert {t["trial"] for t in exchange["taken"]} == set(order[2:])
        assert {t["source"] for t in exchange["taken"]} <= set(order[:2])
    moved = [line for line in said if line.startswith("after epoch")]
    assert len(moved) == 4
    last = exchanges[-1]["taken"][0]
    trial = directory.trials()[last["trial"]]
    assert (trial.stages[-1].trial, trial.stages[-1].until) == (last["source"], 4)
    mine, theirs = (losses(directory.log_of(last[who])) for who in ("trial", "source"))
    assert [mine[epoch] for epoch in range(1, 5)] == [theirs[epoch] for epoch in range(1, 5)]
    assert mine[5] != theirs[5]
    assert all(t.outcome.status == "complete" for t in directory.trials())
    assert all(len(losses(directory.log_of(n))) == 5 for n in range(4))


@pytest.mark.slow
def test_a_trial_that_learned_nothing_is_rescued_by_one_that_did(trained_population):
    """The planted better settings spread: at the end no trial has the rate that learns nothing."""
    directory, _ = trained_population
    begun = [e["assignment"]["optimizer.learning_rate"] for e in directory.events("proposed")]
    assert 1e-9 in begun
    ended = [t.assignment["optimizer.learning_rate"] for t in directory.trials()]
    assert sum(ended) > sum(begun)
    assert ranked(directory.read_recipe(), directory.trials())[0].assignment[
        "optimizer.learning_rate"
    ] in (0.003, 0.02)  # fmt: skip


@pytest.mark.slow
def test_every_update_has_the_rate_of_its_stage(trained_population):
    """But for the first one after an exchange, whose rate was set when the one before it ended."""
    directory, _ = trained_population
    trial = next(t for t in directory.trials() if t.stages)
    run = directory.log_of(trial.number)
    steps = run.events("start")[0]["steps_per_epoch"]
    factor = rate_factor(config.load(RunConfig, run.config).optimizer, 5 * steps)
    parts = [*trial.before, (5, trial.assignment)]
    firsts = {until * steps + 1 for until, _ in trial.before}
    lines = run.events("progress")
    assert [line["step"] for line in lines] == list(range(1, 5 * steps + 1))
    for line in lines:
        epoch = line["epoch"] - (line["step"] in firsts)
        settings = next(a for until, a in parts if epoch <= until)
        expected = settings["optimizer.learning_rate"] * factor(line["step"] - 1)
        assert line["learning_rate"] == pytest.approx(expected)


@pytest.mark.slow
def test_its_course_trained_anew_with_its_own_seed_gives_its_own_figures(
    trained_population, tmp_path
):
    """What the finals do with fresh seeds is what the trial went through."""
    directory, _ = trained_population
    sweep = directory.read_recipe()
    place = tmp_path / "copy"
    shutil.copytree(directory.path, place)
    trial = max(directory.trials(), key=lambda t: (len(t.stages), t.number))
    assert trial.stages
    again = Trials(replace(sweep, out=place), torch.device("cpu"))
    job = Job(trial.number, trial.assignment, (0,), is_final=True, before=trial.before)
    job = Job.from_plain(json.loads(json.dumps(vars(job))))
    outcome = again.work(job, lambda epoch, value: None)
    assert outcome.status == "complete", outcome.error
    replayed = RunDirectory(place / "finals" / trial.label / "seed-0")
    assert losses(replayed) == losses(directory.log_of(trial.number))
    judged = replayed.read_json(replayed.evaluation)["splits"]
    assert judged["validation"]["loss"] == pytest.approx(trial.outcome.value)
    assert "test" in judged


@pytest.mark.slow
def test_the_winner_is_trained_anew_along_its_whole_course(trained_population):
    directory, _ = trained_population
    best = ranked(directory.read_recipe(), directory.trials())[0]
    (final,) = directory.finals(best.number)
    assert sorted(losses(final)) == [1, 2, 3, 4, 5]
    assert final.read_json(final.evaluation)["seed"] == 1000
    assert len(final.events("start")) == 1 + len(best.stages)


@pytest.mark.slow
@pytest.mark.parametrize("most", [6, 3, 12])
def test_a_population_cut_off_anywhere_comes_to_the_same_end(
    most, trained_population, shards, tmp_path
):
    sweep = population_of(shards, tmp_path / "sweep")
    with pytest.raises(Cut):
        run_here(sweep, most=most)
    directory, _ = run_here(sweep, resume=True)
    assert told(directory) == told(trained_population[0])


@pytest.mark.slow
@pytest.mark.parametrize("copies", [1, 0])
def test_a_driver_that_dies_in_the_middle_of_an_exchange_completes_it(
    copies, trained_population, shards, tmp_path, monkeypatch
):
    plain, made = shutil.copytree, []

    def dying(source, target, *rest, **options):
        if rest:  # a folder within
            return plain(source, target, *rest, **options)
        if len(made) == copies:
            raise Cut
        made.append(target)
        return plain(source, target, **options)

    sweep = population_of(shards, tmp_path / "sweep")
    with monkeypatch.context() as patch:
        patch.setattr(population.shutil, "copytree", dying)
        with pytest.raises(Cut):
            run_here(sweep)
    directory, _ = run_here(sweep, resume=True)
    assert told(directory) == told(trained_population[0])
    for trial in directory.trials():
        mine, theirs = (d.log_of(trial.number) for d in (directory, trained_population[0]))
        assert losses(mine) == losses(theirs)


def test_a_part_that_was_trained_when_the_driver_died_is_not_trained_on(shards, tmp_path):
    """The run stands at the exchange, and the log does not know it yet."""
    sweep = population_of(shards, tmp_path / "sweep")
    with pytest.raises(Cut):
        run_here(sweep, most=3)
    log = sweep.out / "log.jsonl"
    kept = [line for line in log.read_text().splitlines() if '"reached"' not in line]
    log.write_text("\n".join(kept) + "\n")
    with pytest.raises(Cut):
        run_here(sweep, resume=True, most=2)
    (reached,) = [e for e in map(json.loads, log.read_text().splitlines())
                  if e["event"] == "reached"]  # fmt: skip
    run = RunDirectory(sweep.out / "trials" / "0000" / "seed-0")
    assert (reached["trial"], reached["epoch"]) == (0, 2)
    assert [e["epoch"] for e in run.events("epoch")] == [1, 2]


@pytest.mark.slow
def test_a_trial_that_was_trained_but_not_judged_when_the_driver_died_is_judged(
    trained_population, tmp_path
):
    directory, _ = trained_population
    copy = tmp_path / "sweep"
    shutil.copytree(directory.path, copy)
    log = copy / "log.jsonl"
    lines = map(json.loads, log.read_text().splitlines())
    kept = [e for e in lines if not (e["event"] == "ended" and e["trial"] == 2)]
    log.write_text("".join(f"{json.dumps(e)}\n" for e in kept))
    (copy / "trials" / "0002" / "seed-0" / "evaluation.json").unlink()
    resumed, _ = run_here(replace(directory.read_recipe(), out=copy), resume=True)
    assert told(resumed) == told(directory)


@pytest.mark.slow
def test_a_member_that_fails_leaves_and_the_others_go_on(shards, tmp_path, monkeypatch):
    plain = trials.run_worker

    def failing(run, context, watch):
        if "/0001/" in str(run.out):
            raise RuntimeError("the disk caught fire")
        plain(run, context, watch)

    monkeypatch.setattr(trials, "run_worker", failing)
    sweep = population_of(shards, tmp_path / "sweep", retries=0, final={"candidates": 0})
    directory, said = run_here(sweep)
    found = directory.trials()
    assert [t.outcome.status for t in found] == ["complete", "failed", *["complete"] * 2]
    assert found[1].outcome.error == "RuntimeError: the disk caught fire"
    assert any("trial 0001: failed: RuntimeError" in line for line in said)
    assert all(1 not in (t["trial"], t["source"]) for e in directory.events("exchange")
               for t in e["taken"])  # fmt: skip


@pytest.mark.slow
def test_a_member_that_failed_comes_back_when_more_attempts_are_allowed(
    shards, tmp_path, monkeypatch
):
    plain = trials.run_worker
    with monkeypatch.context() as patch:

        def failing(run, context, watch):
            if "/0001/" in str(run.out):
                raise RuntimeError("the disk caught fire")
            plain(run, context, watch)

        patch.setattr(trials, "run_worker", failing)
        sweep = population_of(shards, tmp_path / "sweep", retries=0, final={"candidates": 0})
        directory, _ = run_here(sweep)
    before = told(directory)
    run_here(sweep, resume=True)
    assert told(directory) == before
    run_here(replace(sweep, retries=1), resume=True)
    found = directory.trials()
    assert [t.outcome.status for t in found] == ["complete"] * 4
    assert list(losses(directory.log_of(1))) == [1, 2, 3, 4, 5]
    assert [one for one in told(directory) if one[0] != 1] == [b for b in before if b[0] != 1]


def test_what_is_changed_stays_within_the_space_and_the_rest_comes_along(shards, tmp_path):
    raw = {
        "optimizer.learning_rate": {"loguniform": [0.001, 0.01]},
        "optimizer.clip_norm": {"choice": [None, 1.0, 2.0]},
        "model.dropout": {"uniform": [0.0, 0.3], "step": 0.1},
        "model.width": {"choice": [32, 64]},
    }
    base = RunConfig(shards=shards, out=tmp_path)
    space, changeable = parse(raw, base), marked(base, CHANGEABLE)
    now = {"optimizer.learning_rate": 0.009, "optimizer.clip_norm": 1.0,
           "model.dropout": 0.3, "model.width": 64}  # fmt: skip
    found = [
        population.explored(space, now, changeable, random.Random(seed)) for seed in range(300)
    ]
    rates = [a["optimizer.learning_rate"] for a in found]
    assert {a["model.width"] for a in found} == {64}
    assert {a["optimizer.clip_norm"] for a in found} == {None, 1.0, 2.0}
    assert {a["model.dropout"] for a in found} == set(space["model.dropout"].values)
    assert min(rates) >= 0.001
    assert max(rates) == 0.01
    assert 0.25 < sum(r == 0.01 for r in rates) / 300 < 0.5
    assert 0.25 < sum(r == pytest.approx(0.0072) for r in rates) / 300 < 0.5
    moved = sum(a["model.dropout"] in (0.2, 0.3) for a in found) / 300
    assert 0.75 < moved < 0.97  # a step, but for those that are drawn anew


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"algorithm": "tpe"}}, "tpe does not draw: set it to random"),
        ({"space": {**SPACE, "loss": {"grid": ["ce"]}}, "fixed": {}}, "write choice in place"),
        ({"trials": 1}, "give at least 2"),
        ({"space": {"model.num_layers": {"choice": [1, 2]}}}, "search one of model.dropout"),
        (
            {"space": {**SPACE, "training.epochs": {"choice": [4, 5]}}, "fixed": {}},
            "remove it from the space",
        ),
        ({"fixed": {**FIXED, "training.patience": 2}}, "remove it from the base"),
        ({"scheduler": {"name": "pbt", "interval": 5}}, "leaves no exchange in training.epochs=5"),
        ({"scheduler": {"name": "pbt", "interval": 0}}, "must be at least 1"),
        ({"seeds": 2}, "set seeds=1"),
        (
            {"space": {"model.dropout": {"choice": [0.0, 0.1]},
                       "model.num_layers": {"choice": [1, 2], "when": {"model.dropout": 0.1}}}},
            "remove its `when`",
        ),
    ],
)  # fmt: skip
def test_what_is_no_population_is_refused_before_anything_is_written(
    change, said, shards, tmp_path
):
    with pytest.raises(ConfigError) as refusal:
        checks.checked(population_of(shards, tmp_path / "sweep", **change))
    assert said in str(refusal.value)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.slow
def test_a_population_does_not_grow_on_resuming(trained_population, shards):
    directory, _ = trained_population
    more = population_of(shards, directory.path, trials=5)
    with pytest.raises(ConfigError, match="cannot grow while it trains: give 4"):
        driver._check_same_sweep(checks.checked(more), directory)


@pytest.mark.slow
def test_the_report_shows_the_winners_course_and_a_command_that_repeats_it(
    trained_population, tmp_path
):
    directory, _ = trained_population
    copy = tmp_path / "sweep"
    shutil.copytree(directory.path, copy)
    found = sweep_runs.read(copy)
    winner = found.finalists[0].trial
    assert winner.stages
    sentences = answer.sentences(found)
    assert "the whole schedule, retrained" in sentences[1]
    table = schedule.schedules(found)
    shown = [row.label for row in table.rows]
    ends = [until for until, _ in winner.before] + [5]
    begins = [1, *(end + 1 for end in ends[:-1])]
    spans = [f"epoch {b}" if a == b else f"epochs {a} to {b}"
             for a, b in zip(begins, ends, strict=True)]  # fmt: skip
    assert shown == [f"{winner.label} · {span}" for span in spans]
    at = [c.title for c in table.columns].index("dropout")
    parts = [*winner.before, (5, winner.assignment)]
    assert [row.cells[at].text for row in table.rows] == [
        f"{a['model.dropout']:.4g}" for _, a in parts
    ]
    retraining = schedule.retraining(found)
    assert "itrec train" not in retraining["command"]
    words = retraining["command"].split()[2:]
    options = [f"{n.removeprefix('--')}={v}" for n, v in zip(words[3::2], words[4::2], strict=True)]
    assert words[:3] == ["--config", str(copy / "sweep.yaml"), "--resume"]
    again = config.load(SweepConfig, copy / "sweep.yaml", [*options, f"out={copy}"])
    resumed, _ = run_here(again, resume=True)
    seeds = [r.read_json(r.evaluation)["seed"] for r in resumed.finals(winner.number)]
    assert seeds == [1000, 1001]
