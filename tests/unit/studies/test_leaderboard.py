"""The leaderboard: recipes by the length of histories, and published results beside ours."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from itrec_dist import studies
from itrec_dist.config import shipped_files
from itrec_dist.data import manifest
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.errors import ConfigError
from itrec_dist.reports.published import leaderboard
from itrec_dist.studies.leaderboard import STUDY
from itrec_dist.studies.runner import StudyConfig, fitting, planned

TOLD_MORE = ("sasrec-item", "sasrec-user", "sasrec-context", "hstu-query")
BEAUTY = {"ratings": 198_502, "users": 22_363, "items": 12_101}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Generated ratings, cut as the study cuts them."""
    folder = tmp_path_factory.mktemp("leaderboard")
    generate(SyntheticConfig(users=40, movies=80, ratings_per_user=20.0), folder / "ratings")
    cut = STUDY.protocols["leave-one-out"]
    windows = cut.windows
    assert isinstance(windows, TaskWindows)
    windows.write("ml-1m", folder / "ratings", folder / "shards", cut.settings)
    return folder / "shards"


def test_every_arm_has_a_recipe_of_both_sets():
    for arm in STUDY.arms:
        for suffix in (STUDY.recipes.long, STUDY.recipes.short):
            assert shipped_files.recipe(f"{arm.recipe}_{suffix}").is_file()


@pytest.mark.parametrize(("events", "suffix"), [(29, "beauty"), (30, "ml1m")])
def test_the_mean_length_of_histories_chooses_the_recipes(events, suffix, made):
    data = manifest.read(made)
    data = replace(data, steps=({**data.steps[-1], "ratings": 10 * events, "users": 10},))
    assert STUDY.recipes.suffix(data) == suffix
    assert STUDY.recipe_of(STUDY.arms[0], made) == "sasrec_beauty"


def test_every_arm_is_planned_with_its_own_loss(made):
    runs = {run.out.parts[-2]: run for run in planned(
        STUDY, Path("out"), {"leave-one-out": made}, StudyConfig()
    )}  # fmt: skip
    assert list(runs) == [arm.name for arm in STUDY.arms]
    kinds = {name: (run.model.kind, run.loss.kind) for name, run in runs.items()}
    assert kinds["gsasrec"] == ("sasrec", "gbce")
    assert kinds["esasrec"] == ("esasrec", "sampled_softmax")
    assert kinds["esasrec-linear"] == kinds["esasrec"]
    assert runs["esasrec-linear"].model.linear_width
    others = (*TOLD_MORE, "esasrec-linear")
    plain = [kinds[arm.name] for arm in STUDY.arms if arm.name not in others]
    assert len(set(plain)) == len(kinds) - len(others)


def test_arms_that_are_told_more_differ_from_plain_ones_in_that_alone(made):
    runs = {run.out.parts[-2]: run for run in planned(
        STUDY, Path("out"), {"leave-one-out": made}, StudyConfig()
    )}  # fmt: skip
    for name in TOLD_MORE:
        plain, told = (runs[arm] for arm in (name.partition("-")[0], name))
        assert told.model != plain.model
        usual = {"side_information": "none", "event_context": ()}
        usual |= {"time_of_query": False} if hasattr(told.model, "time_of_query") else {}
        assert replace(told.model, **usual) == plain.model
        assert replace(told, model=plain.model, out=plain.out) == plain


def test_arms_that_the_data_has_nothing_for_are_left_out_and_named_once(made, tmp_path):
    shards = tmp_path / "shards"
    shutil.copytree(made, shards)
    content = json.loads((shards / "manifest.json").read_text())
    (shards / "manifest.json").write_text(json.dumps(content | {"user_features": []}))
    said = []
    two, one = StudyConfig(seeds=2), StudyConfig(arms=("sasrec-user",))
    plans = [planned(STUDY, Path("out"), {"leave-one-out": shards}, chosen)
             for chosen in (two, one)]  # fmt: skip
    kept = [run.out.parts[-2] for run in fitting(plans[0], two, said.append)]
    assert sorted(kept) == sorted(2 * [a.name for a in STUDY.arms if a.name != "sasrec-user"])
    (line,) = said
    assert line.startswith("leave-one-out sasrec-user is left out: model.side_information=user")
    with pytest.raises(ConfigError, match="needs user features"):
        list(fitting(plans[1], one, said.append))


def test_it_takes_any_source_and_the_other_studies_do_not():
    STUDY.check_source("table")
    with pytest.raises(ConfigError, match="needs user and movie features"):
        studies.find("ite").check_source("table")


def test_published_results_stand_beside_whole_data_alone(made):
    data = manifest.read(made)
    assert leaderboard.results_on(data) == ()
    beauty = replace(data, steps=(BEAUTY,))
    found = leaderboard.results_on(beauty)
    assert max(result.ndcg for result in found) == 0.0531
    assert leaderboard.results_on(replace(beauty, protocol="leave_last")) == ()
    filtered = replace(beauty, steps=(BEAUTY, {**BEAUTY, "ratings": 100_000}))
    assert leaderboard.results_on(filtered) == ()


def test_a_model_that_is_told_the_time_of_the_query_is_named():
    assert leaderboard.knows_query_time({"model": {"kind": "hstu", "time_of_query": True}})
    assert not leaderboard.knows_query_time({"model": {"kind": "hstu", "time_of_query": False}})
