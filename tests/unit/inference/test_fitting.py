"""A trained model asked of shards that were windowed anew: other windows, and other ids."""

import json
import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest, schema
from itrec_dist.data.batches import whole_batch
from itrec_dist.data.shards import reader, splits
from itrec_dist.errors import ShardsError
from itrec_dist.evaluation import per_window
from itrec_dist.inference.fitting import fit
from itrec_dist.inference.load import restore
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.storage.parquet import row_groups
from itrec_dist.tasks.next_items.windows import window
from itrec_dist.tasks.ratings.windows import window_ratings
from tests.fixtures import CUT, HELD_OUT, call
from tests.stopped_runs import reseal

RATINGS = "ratings.dat"


def lines_of(folder):
    return (folder / RATINGS).read_text(encoding="latin-1").splitlines()


def with_lines(folder, out, more):
    """The same ratings and tables, with more events."""
    shutil.copytree(folder, out)
    text = "\n".join([*lines_of(folder), *more]) + "\n"
    (out / RATINGS).write_text(text, encoding="latin-1")
    return out


def overtaking(folder, shards):
    """One event more of known users of an item that is popular, so that the ids change places."""
    events = [line.split("::") for line in lines_of(folder)]
    items = reader.read_items(shards, manifest.read(shards)).source_ids
    counts = Counter(item for _, item, *_ in events)
    first, second = items[20], items[30]
    had = {user for user, item, *_ in events if item == second}
    users = [u for u, _ in Counter(e[0] for e in events).most_common() if u not in had]
    needed = counts[first] - counts[second] + 1
    latest = max(int(e[3]) for e in events)
    return [f"{user}::{second}::5::{latest + 1 + i}" for i, user in enumerate(users[:needed])]


@pytest.fixture(scope="module")
def newer(ratings_folder, shards, tmp_path_factory):
    """A few events later: the same users and items, in another order of popularity."""
    folder = tmp_path_factory.mktemp("newer")
    ratings = with_lines(ratings_folder, folder / "ratings", overtaking(ratings_folder, shards))
    window("ml-1m", ratings, folder / "shards", CUT)
    return folder / "shards"


@pytest.fixture
def moved(trained, shards, newer, tmp_path):
    """A run whose shards were then windowed anew in the same place."""
    run, place = tmp_path / "run", tmp_path / "place"
    shutil.copytree(trained, run)
    shutil.copytree(newer, place)
    for file in (run / "config.yaml", run / "checkpoints" / "best" / "config.yaml"):
        file.write_text(file.read_text().replace(str(shards), str(place)))
    reseal(run / "checkpoints" / "best")
    return run, place


def fingerprints(*shards):
    return [manifest.read(folder).fingerprint[:12] for folder in shards]


def test_windows_that_replaced_those_of_the_training_are_not_judged(moved, shards, tmp_path, itrec):
    run, place = moved
    out = tmp_path / "judged.json"
    found, trained_on = fingerprints(place, shards)
    code, shown, err = itrec("evaluate", run, "--out", out)
    assert (code, shown, err.count("\n")) == (2, "", 1)
    assert f"{place} holds other windows (fingerprint {found})" in err
    assert f"trained on ({trained_on})" in err
    assert f"give --shards {place}" in err
    assert not out.exists()
    with pytest.raises(ShardsError, match="holds other windows"):
        per_window.write(run)
    assert not RunDirectory(run).test_windows.exists()


def test_asked_for_by_name_they_are_judged_with_a_warning(moved, shards, itrec):
    run, place = moved
    found, trained_on = fingerprints(place, shards)
    code, shown, err = itrec("evaluate", run, "--shards", place)
    assert (code, err) == (0, "")
    warnings = [line for line in shown.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert found in warnings[0]
    assert trained_on in warnings[0]
    code, shown, _ = itrec("evaluate", run, "--shards", shards)
    assert (code, "warning" in shown) == (0, False)


def test_new_events_are_recommended_from_in_the_ids_of_the_model(moved, tmp_path, itrec):
    run, place = moved
    out = tmp_path / "top.parquet"
    code, shown, err = itrec("recommend", run, "--out", out)
    assert (code, err) == (0, "")
    assert shown.startswith(f"warning: {place} holds other windows")
    rows = pq.read_table(out).to_pylist()
    restored, described = restore(run), manifest.read(place)
    theirs = reader.read_items(place, described).source_ids
    mine = restored.items.source_ids
    assert theirs != mine
    assert set(theirs) == set(mine)
    histories = reader.read_histories(place, described)
    number = {source_id: i for i, source_id in enumerate(mine, 1)}
    users = reader.read_users(place, described).source_ids
    for position in range(0, len(users), 37):
        seen = {theirs[i - 1] for i in histories.seen(position).tolist()}
        batch = one_row(restored, histories, position, theirs, number)
        with torch.no_grad():
            scores = torch.cat(list(restored.task.catalogue_scores(batch)), dim=1)[0].tolist()
        left = [s for s in mine if s not in seen]
        expected = sorted(left, key=lambda s: -scores[number[s] - 1])[:5]
        assert [r["item"] for r in rows if r["user"] == users[position]] == expected


def one_row(restored, histories, position, theirs, number):
    """A user's history as a batch, its items numbered as the model does."""
    windows = histories.windows(np.array([position]))
    ids = [[number[theirs[i - 1]] if i else 0 for i in windows.item_ids[0].tolist()]]
    numbered = replace(windows, item_ids=np.array(ids, dtype=np.int32))
    return whole_batch(numbered, restored.engine.device)


def test_windows_are_read_with_the_ids_of_the_model(trained, newer):
    restored, described = restore(trained), manifest.read(newer)
    theirs = np.array(["", *reader.read_items(newer, described).source_ids])
    mine = np.array(["", *restored.items.source_ids])
    plain = splits.read_split(newer, described, "test")
    found = fit(restored, newer).split("test", row_groups, times=False)
    assert np.array_equal(mine[found.item_ids], theirs[plain.item_ids])
    assert np.array_equal(mine[found.target_ids], theirs[plain.target_ids])
    assert not np.array_equal(found.target_ids, plain.target_ids)


def test_items_that_the_model_does_not_know_are_counted(trained, newer, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(newer, other)
    path = other / schema.ITEMS_FILE
    items = pq.read_table(path)
    ids = items["source_id"].to_pylist()
    ids[3:5] = ["new one", "new two"]
    column = items.schema.get_field_index("source_id")
    pq.write_table(items.set_column(column, items.schema.field(column), [ids]), path)
    with pytest.raises(ShardsError, match=r"2 items are unknown to the model, such as 'new one'"):
        fit(restore(trained), other)


# ---------------------------------------------------------------------------- users


@pytest.fixture(scope="module")
def rated(rated_shards, tmp_path_factory):
    """A model that learned each user by number."""
    run = tmp_path_factory.mktemp("rated") / "run"
    code, _, err = call(
        "train", "--local", "--model.kind", "biased_mf", "--shards", rated_shards, "--out", run,
        "--training.epochs", 1, "--training.batch_size", 256,
    )  # fmt: skip
    assert code == 0, err
    return run


@pytest.fixture(scope="module")
def joined(ratings_folder, tmp_path_factory):
    """The same ratings and one user more, who comes first."""
    folder = tmp_path_factory.mktemp("joined")
    items = sorted({line.split("::")[1] for line in lines_of(ratings_folder)}, key=int)[:40]
    events = [f"0::{item}::4::{978300000 + i}" for i, item in enumerate(items)]
    ratings = with_lines(ratings_folder, folder / "ratings", events)
    people = (ratings / "users.dat").read_text(encoding="latin-1")
    (ratings / "users.dat").write_text(f"0::F::1::10::48067\n{people}", encoding="latin-1")
    window_ratings("ml-1m", ratings, folder / "shards", HELD_OUT)
    return folder / "shards"


def test_a_model_that_knows_users_finds_them_by_name(rated, rated_shards, joined):
    restored = restore(rated)
    theirs = ["", *reader.read_users(joined, manifest.read(joined)).source_ids]
    mine = ["", *reader.read_users(rated_shards, restored.manifest).source_ids]
    assert theirs[1] == "0"
    fitting = fit(restored, joined)
    assert fitting.user_ids is not None
    assert fitting.user_ids[:2].tolist() == [0, 0]  # padding, and whom the model does not know
    assert [mine[i] for i in fitting.user_ids[2:]] == theirs[2:]
    plain = splits.read_split(joined, fitting.manifest, "test")
    found = fitting.split("test", row_groups, times=False)
    assert np.array_equal(found.user_ids, fitting.user_ids[plain.user_ids])
    assert fitting.histories().user_ids.tolist() == fitting.user_ids[1:].tolist()


def test_without_the_table_of_its_users_such_a_model_is_not_asked(rated, joined, tmp_path, itrec):
    run = tmp_path / "run"
    shutil.copytree(rated, run)
    best = run / "checkpoints" / "best"
    lines = (best / "config.yaml").read_text().splitlines()
    gone = json.dumps(str(tmp_path / "gone"))
    lines = [f"shards: {gone}" if line.startswith("shards:") else line for line in lines]
    (best / "config.yaml").write_text("\n".join(lines))
    reseal(best)
    code, shown, err = itrec("evaluate", run, "--shards", joined)
    assert (code, shown, err.count("\n")) == (2, "", 1)
    assert "knows users by number" in err
