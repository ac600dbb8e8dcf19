"""The scripts that a cluster runs: one per verb that belongs there, each the command itself."""

import ast
import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from itrec_dist import config
from itrec_dist.cli.app import VERBS, main
from itrec_dist.data import manifest
from itrec_dist.data import spec as data_spec
from itrec_dist.data.shards import reader
from itrec_dist.sweeps import checks, estimate
from itrec_dist.sweeps.config import SweepConfig
from itrec_dist.tasks import TASKS
from itrec_dist.training.config import RunConfig, check
from tests.cases import slow_after

ROOT = Path(__file__).parents[3]
JOBS = sorted((ROOT / "jobs").glob("*.py"))
EVERY = sorted((ROOT / "jobs" / "recipes").glob("*.yaml"))
SWEEPS = [path for path in EVERY if path.stem.startswith("sweep_")]
RECIPES = [path for path in EVERY if path not in SWEEPS]
AT_HOME = {"doctor", "data get", "schema", "completion"}
"""Verbs about the machine at hand, its shell and editor, or the network: not for a cluster."""


FORMER = {"window_ratings": "window --task ratings"}
"""Scripts of former verbs -> what they are now."""


def verb_of(job):
    """The verb whose command the script's name is."""
    if job.stem in FORMER:
        return FORMER[job.stem]
    (verb,) = (verb for verb, (module, _) in VERBS.items() if module == job.stem)
    return verb


def test_every_verb_for_a_cluster_has_its_script():
    former = set(FORMER.values())
    assert {verb_of(job) for job in JOBS} - former == set(VERBS) - AT_HOME


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.stem)
def test_a_script_is_one_call_of_its_verb(job):
    tree = ast.parse(job.read_text(encoding="utf-8"))
    imported = [ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    assert imported == ["import sys", "from itrec_dist.cli.app import main"]
    words = ", ".join(repr(word) for word in verb_of(job).split())
    assert ast.unparse(tree.body[-1]) == (
        f"if __name__ == '__main__':\n    sys.exit(main([{words}, *sys.argv[1:]]))"
    )


@pytest.mark.parametrize("way", slow_after(1, [["-m", "jobs.data_make"], ["jobs/data_make.py"]]))
def test_a_script_has_the_options_and_the_exit_code_of_the_command(way, tmp_path, capsys):
    """From a checkout as `-m`; as a file where the checkout is on the path, as in a Ray job."""
    environment = {"PYTHONPATH": str(ROOT)} if way[0] != "-m" else {}

    def job(*arguments):
        return subprocess.run(
            [sys.executable, *way, *arguments],
            capture_output=True, text=True, check=False, cwd=ROOT, env=environment, timeout=120,
        )  # fmt: skip

    with pytest.raises(SystemExit):
        main(["data", "make", "--help"])
    assert job("--help").stdout.split() == capsys.readouterr().out.split()
    out = tmp_path / "made"
    refused = job("--out", str(out), "--users", "0")
    assert refused.returncode == 2
    assert refused.stderr.startswith("itrec: error: users must be at least 1")
    assert job("--out", str(out), "--users", "3").returncode == 0
    assert (out / "ratings.dat").is_file()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.stem)
def test_every_recipe_builds_on_shards(recipe, shards, rated_shards, history_shards, tmp_path):
    if recipe.stem.startswith("rating_"):
        shards = rated_shards
    elif "--samples histories" in recipe.read_text(encoding="utf-8"):
        shards = history_shards
    run = config.load(RunConfig, recipe, [f"shards={shards}", f"out={tmp_path / 'run'}"])
    described = check(run, run.cluster.num_workers)
    spec = data_spec.build(described, reader.read_items(shards, described))
    task = TASKS[run.model.task](run.model, run.loss, spec)
    assert sum(p.numel() for p in task.parameters()) > described.num_items
    assert manifest.read(shards) == described


@pytest.mark.parametrize("recipe", SWEEPS, ids=lambda recipe: recipe.stem)
def test_every_sweep_can_be_started_and_none_of_its_trials_is_refused(
    recipe, shards, history_shards, tmp_path
):
    if "--samples histories" in recipe.read_text(encoding="utf-8"):
        shards = history_shards
    sweep = config.load(SweepConfig, recipe, [f"shards={shards}", f"out={tmp_path / 'sweep'}"])
    checked = checks.checked(sweep)
    assignments = checked.assignments
    if assignments is None:  # outcomes decide: any draw of the space may come
        assignments = list(itertools.islice(checked.space.draws(0), sweep.trials))
    assert estimate.invalid_trials(checked.runs, tmp_path, assignments) == []
    assert len(assignments) == sweep.trials


@pytest.mark.parametrize("recipe", EVERY, ids=lambda recipe: recipe.stem)
def test_every_recipe_says_what_it_is_for_and_how_it_is_run(recipe):
    lines = recipe.read_text(encoding="utf-8").splitlines()
    header = "\n".join(line for line in lines if line.startswith("#"))
    assert lines[0].startswith("# ")
    assert f"--config jobs/recipes/{recipe.name}" in header
