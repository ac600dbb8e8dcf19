"""A task of somebody else: one module, one SQL folder and a package of baselines."""

import json
import os
import re
import subprocess
import sys

import pytest

from itrec_dist import tasks
from itrec_dist.data import manifest
from itrec_dist.data.shards import reader
from itrec_dist.data.shards.splits import read_split
from itrec_dist.errors import ConfigError, ShardsError
from tests.shards_factory import make_shards, random_windows

TASK = '''
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itrec_dist.config.registry import Registry
from itrec_dist.data import schema
from itrec_dist.data.shards.splits import read_split
from itrec_dist.data.windowing import settings as window_settings
from itrec_dist.data.windowing.leakage import Leakage, hold
from itrec_dist.data.windowing.task_windows import TaskWindows
from itrec_dist.metrics.judgement import Judgement
from itrec_dist.tasks.baselines import TaskBaselines
from itrec_dist.tasks.data import TaskData
from itrec_dist.tasks.task import Task


@dataclass(frozen=True)
class PairConfig:
    """Pairs of items that were rated one after the other."""

    protocol: str = "last_pair"
    """The way to split."""
    gap: int = 1
    """Ratings from the first item of a pair to the second."""
    input_length: int = 1
    """Inputs of a window."""
    target_length: int = 1
    """Targets of a window."""
    num_shards: int = 2
    """Files of the training split."""
    memory_limit: str | None = None
    """Memory of DuckDB."""
    threads: int | None = None
    """Threads of DuckDB."""


class PairWindows(TaskWindows[PairConfig]):
    """Every pair is a window; each user's last pair is held out."""

    settings = PairConfig
    protocols = ("last_pair",)
    leakage = Leakage({"users": "users with a target"}, {"users": "targets"}, {"last_pair": ()})
    description = "Cut ratings into pairs."
    sql_folder = Path(__file__).parent / "sql"

    def cut(self, database, config):
        database.table("dealt", "pairs/dealt")
        for name in ("catalogue", "kept_users", "sequences"):
            database.table(name, f"ratings/{name}")
        return window_settings.steps(["read"], database.rows("ratings/steps")[:1])

    def frame(self, database, config):
        database.table("windows", "pairs/windows", gap=config.gap)

    def audit(self, database, config):
        hold(database, "pairs/windows_of_nobody")
        count = lambda split: database.rows("pairs/leaks", split=split)[0]
        return self.leakage.audit(database, config.protocol, count)


class PairBaselines(TaskBaselines):
    registry = Registry("pair baseline", "their_baselines", group="their_baselines")

    def training(self, shards, data):
        return read_split(shards, data, schema.TRAIN)

    def judge(self, fitted, windows, training, choice):
        hits = (fitted(windows) == windows.target_ids[:, 0]).mean()
        return Judgement(None, len(windows), {"pairs": {"share": float(hits)}})


class Pairs(Task):
    data = TaskData(PairWindows(), PairBaselines())
'''

DEALT = """
select user_key, item_key, event_time, rating, raw_place,
    if(raw_place = max(raw_place) over (partition by user_key), 'test', 'train') as split
from events
"""

WINDOWS = """
with pairs as (
    select sequences.*,
        lag(item_id, $gap) over of_user as before_id,
        lag(rating, $gap) over of_user as before_rating,
        lag(event_time, $gap) over of_user as before_time
    from sequences
    window of_user as (partition by user_id order by place)
)
select row_number() over (order by pairs.user_id, place) - 1 as window_id, split, pairs.user_id,
    user_features, [before_id] as item_ids, [before_rating] as ratings, [before_time] as times,
    [item_id] as target_ids, [rating] as target_ratings, event_time as target_time
from pairs inner join users on pairs.user_id = users.user_id
where before_id is not null
order by window_id
"""

BASELINE = '''
from dataclasses import dataclass


@dataclass(frozen=True)
class Follower:
    """The baseline `follower`: the item whose number is so much larger."""

    step: int = 0
    """What is added to the number of the input item."""

    def fit(self, training):
        return lambda windows: windows.item_ids[:, 0] + self.step
'''


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The folder of a task `Pairs` in `their_task`, installed as `pairs`; it can be imported."""
    folder = tmp_path_factory.mktemp("theirs")
    files = {
        "their_task.py": TASK,
        "sql/pairs/dealt.sql": DEALT,
        "sql/pairs/windows.sql": WINDOWS,
        "sql/pairs/windows_of_nobody.sql": "select window_id from windows where user_id is null",
        "sql/pairs/leaks.sql": "select count(distinct user_id) as users, count(*) as targets "
        "from windows where split = $split",
        "their_baselines/__init__.py": "",
        "their_baselines/follower.py": BASELINE,
        "theirs-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n",
        "theirs-1.0.dist-info/entry_points.txt": "[itrec_dist.tasks]\npairs = their_task:Pairs\n",
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder
    for name in [name for name in sys.modules if name.startswith("their_")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def pairs(package, ratings_folder, tmp_path_factory, itrec):
    """The generated ratings, windowed for their task, and what the command printed."""
    out = tmp_path_factory.mktemp("pairs") / "shards"
    code, text, err = itrec(
        "window", "--task", "their_task:Pairs", "--source", "ml-1m", "--input", ratings_folder,
        "--out", out, "--gap", 2,
    )  # fmt: skip
    assert code == 0, err
    return out, text


def test_its_windows_are_cut_by_its_own_sql(pairs, ratings_folder):
    out, text = pairs
    made = manifest.read(out)
    assert (made.task, made.protocol, made.settings["gap"]) == (
        "their_task:Pairs", "last_pair", 2,
    )  # fmt: skip
    assert tasks.task_of(made) == "their_task:Pairs"
    assert {"pairs/dealt", "pairs/windows", "shared/users"} <= set(made.sql)
    histories = {}
    for line in (ratings_folder / "ratings.dat").read_text().splitlines():
        user, item, _, time = line.split("::")
        histories.setdefault(user, []).append((int(time), item))
    items, users = reader.read_items(out, made), reader.read_users(out, made)
    judged = read_split(out, made, "test")
    assert len(judged) == len(histories)
    for row in range(0, len(judged), 7):
        history = histories[users.source_ids[judged.user_ids[row] - 1]]
        ordered = sorted(range(len(history)), key=lambda i: (history[i][0], i))
        pair = [judged.item_ids[row, 0], judged.target_ids[row, 0]]
        assert [items.source_ids[i - 1] for i in pair] == [
            history[ordered[-3]][1],
            history[ordered[-1]][1],
        ]
    assert made.num_windows("train") == sum(len(h) - 3 for h in histories.values())
    assert "(last_pair)" in text
    assert "users with a target" in text


def test_its_baseline_is_judged_with_its_own_settings(pairs, tmp_path, itrec):
    out, _ = pairs
    code, text, err = itrec(
        "baselines", "--shards", out, "--out", tmp_path / "runs", "--follower.step", 1
    )
    assert code == 0, err
    found = json.loads((tmp_path / "runs" / "follower" / "evaluation.json").read_text())
    windows = read_split(out, manifest.read(out), "test")
    share = (windows.item_ids[:, 0] + 1 == windows.target_ids[:, 0]).mean()
    assert found["splits"]["test"]["pairs"]["share"] == pytest.approx(share)
    assert re.search(r"^follower +test +pairs ", text, re.MULTILINE)
    assert f"{share:.4f}" in text
    code, _, err = itrec("baselines", "--shards", out, "--out", tmp_path / "x", "--only", "ridge")
    assert code == 2
    assert "there is no pair baseline 'ridge'; there are: follower" in err


@pytest.mark.slow
def test_an_installed_task_is_found_by_its_name(package, pairs, ratings_folder, tmp_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(package), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "itrec_dist", "window", "pairs", "--source", "ml-1m",
         "--input", str(ratings_folder), "--out", str(tmp_path / "out"), "--gap", "2"],
        capture_output=True, text=True, check=False, env=environment, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made, other = manifest.read(tmp_path / "out"), manifest.read(pairs[0])
    assert made.task == "pairs"
    assert made.fingerprint == other.fingerprint


def test_help_lists_the_settings_of_the_task_that_is_named(package, itrec, tmp_path):
    recipe = tmp_path / "pairs.yaml"
    recipe.write_text("task: their_task:Pairs\n", encoding="utf-8")
    shown = {
        ("window",): "--top_items",
        ("window", "--task", "ratings"): "--scale",
        ("window", "ratings"): "--scale",
        ("window", "--task=their_task:Pairs"): "--gap",
        ("window", "--config", str(recipe)): "--gap",
    }
    for arguments, option in shown.items():
        code, text, err = itrec(*arguments, "--help")
        assert code == 0, err
        listed = {own for own in ("--top_items", "--scale", "--gap") if f"  {own} " in text}
        assert listed == {option}


@pytest.mark.parametrize(
    ("task", "words"),
    [
        (
            "rating",
            "there is no task 'rating' (did you mean ratings?); there are: item_vectors, ",
        ),
        ("item_vectors", "item_vectors has no windows of its own: give one of next_items, ratings"),
        ("no_such_module:Pairs", "the task no_such_module:Pairs"),
    ],
)
def test_a_task_without_windows_is_refused(itrec, tmp_path, task, words):
    code, _, err = itrec(
        "window", "--task", task, "--source", "ml-1m", "--input", tmp_path, "--out", tmp_path / "x"
    )
    assert code == 2
    assert words in err
    assert err.count("\n") == 1


def test_a_protocol_belongs_to_one_task():
    protocols = tasks.protocols()
    assert len(protocols) == len(set(protocols))
    assert {"leave_last", "random_ratings"} <= set(protocols)


def test_an_older_manifest_has_the_task_of_its_protocol(tmp_path):
    path = tmp_path / manifest.schema.MANIFEST_FILE
    make_shards(tmp_path, {"train": random_windows(10)})
    content = json.loads(path.read_text())
    del content["task"]
    for protocol, task in (("leave_last", "next_items"), ("last_ratings", "ratings")):
        path.write_text(json.dumps(content | {"protocol": protocol}))
        assert tasks.task_of(manifest.read(tmp_path)) == task
    path.write_text(json.dumps(content | {"protocol": "of_another_planet"}))
    with pytest.raises(ShardsError, match="no task has the protocol 'of_another_planet'"):
        tasks.task_of(manifest.read(tmp_path))


def test_every_task_with_windows_is_listed_and_keeps_its_name():
    for task in tasks.WITH_WINDOWS:
        data = tasks.data_of(task)
        assert data.windows.task == task
        assert task in tasks.TASKS
    with pytest.raises(ConfigError, match="there is no task 'none'"):
        tasks.data_of("none")


@pytest.mark.slow
def test_a_worker_does_not_import_what_cuts_windows():
    program = (
        "import sys; import itrec_dist.training.worker, itrec_dist.inference.recommend\n"
        "sys.exit('duckdb' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_options_of_window_are_listed_without_importing_pytorch():
    program = (
        "import sys, contextlib\nfrom itrec_dist.cli.app import main\n"
        "for task in ('next_items', 'ratings'):\n"
        "    with contextlib.suppress(SystemExit):\n"
        "        main(['window', '--task', task, '--help'])\n"
        "print('imported', *({'torch', 'ray'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "--scale" in done.stdout
    assert done.stdout.splitlines()[-1] == "imported"
