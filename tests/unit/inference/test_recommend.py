"""Recommendations against a slow twin that scores one user at a time in plain Python."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.data import manifest, schema
from itrec_dist.data.schema import Batch
from itrec_dist.data.shards import reader
from itrec_dist.distributed.context import default_device
from itrec_dist.inference.load import restore
from itrec_dist.inference.recommend import COLUMNS
from tests.stopped_runs import reseal

FOREIGN = "千と千尋の神隠し 🎬 'quoted', \"twice\""


def slow_twin(run, shards, k):
    """(user, rank, item, title, score) of every user, one forward pass each, sorted in Python."""
    restored = restore(run)
    described = manifest.read(shards)
    histories = reader.read_histories(shards, described)
    users = pq.read_table(shards / schema.USERS_FILE)["source_id"].to_pylist()
    items = pq.read_table(shards / schema.ITEMS_FILE).to_pylist()
    rows = []
    for position, user in enumerate(users):
        with torch.no_grad():
            blocks = restored.task.catalogue_scores(one_row(histories, position, described))
            scores = torch.cat(list(blocks), dim=1)[0].tolist()
        seen = set(histories.seen(position).tolist())
        unseen = [i for i in range(described.num_items) if i + 1 not in seen]
        best = sorted(unseen, key=lambda i: (-scores[i], i))[:k]
        for rank, i in enumerate(best, start=1):
            title = items[i]["title"] or items[i]["source_id"]
            rows.append((user, rank, items[i]["source_id"], title, scores[i]))
    return rows


def one_row(histories, position, described):
    device = default_device()
    rows = slice(position, position + 1)
    wide = (1, described.target_length)
    return Batch(
        window_ids_B=torch.tensor([0], device=device),
        user_ids_B=torch.tensor(histories.user_ids[rows].copy(), device=device),
        user_features_BF=torch.tensor(histories.user_features[rows].copy(), device=device),
        item_ids_BL=torch.tensor(histories.item_ids[rows].copy(), device=device),
        ratings_BL=torch.tensor(histories.ratings[rows].copy(), device=device),
        target_ids_BK=torch.ones(wide, dtype=torch.int32, device=device),
        target_ratings_BK=torch.zeros(wide, device=device),
        weight_B=torch.ones(1, device=device),
        denominator=1.0,
    )


def read(path):
    table = pq.read_table(path)
    assert table.schema.equals(COLUMNS)
    return [tuple(row.values()) for row in table.to_pylist()]


def of_users(rows):
    """User -> that user's rows, in the order of the file."""
    found = {}
    for row in rows:
        found.setdefault(row[0], []).append(row)
    return found


@pytest.fixture(scope="module")
def odd_shards(shards, tmp_path_factory):
    """Users at the edges: the first saw all but two items, the second all."""
    folder = tmp_path_factory.mktemp("odd") / "shards"
    shutil.copytree(shards, folder)
    described = manifest.read(folder)
    histories = pq.read_table(folder / schema.HISTORIES_FILE)
    seen = histories["seen_ids"].to_pylist()
    everything = list(range(1, described.num_items + 1))
    seen[0] = everything[:7] + everything[8:-1]
    seen[1] = everything
    column = histories.schema.get_field_index("seen_ids")
    histories = histories.set_column(
        column, "seen_ids", pa.array(seen, histories.schema.field(column).type)
    )
    pq.write_table(histories, folder / schema.HISTORIES_FILE)
    return folder


@pytest.fixture(scope="module")
def odd_run(trained, tmp_path_factory):
    """A run whose item 8 has a title in another script, and whose last item has none."""
    folder = tmp_path_factory.mktemp("odd") / "run"
    shutil.copytree(trained, folder)
    path = folder / "checkpoints" / "best" / schema.ITEMS_FILE
    items = pq.read_table(path)
    titles = items["title"].to_pylist()
    titles[7], titles[-1] = FOREIGN, ""
    column = items.schema.get_field_index("title")
    pq.write_table(items.set_column(column, "title", pa.array(titles, pa.string())), path)
    reseal(path.parent)
    return folder


@pytest.mark.parametrize("k", [1, 5, 60])
def test_every_user_gets_what_the_slow_twin_finds(k, trained, shards, tmp_path, itrec):
    out = tmp_path / "top.parquet"
    code, shown, err = itrec("recommend", trained, "--out", out, "-k", k)
    assert code == 0, err
    found, expected = read(out), slow_twin(trained, shards, k)
    users = pq.read_table(shards / schema.USERS_FILE)["source_id"].to_pylist()
    fewer = sum(len(rows) < k for rows in of_users(found).values())
    besides = f" ({fewer} got fewer than {k} items, or none, having seen the others)" * (fewer > 0)
    assert shown == f"recommendations for {len(users):,} users{besides}: {out}\n"
    assert (fewer > 0) == (k == 60)
    assert list(of_users(found)) == users
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose(
        [r[4] for r in found], [r[4] for r in expected], rtol=1e-4, atol=1e-5
    )
    # A batch of one may round otherwise, which swaps items whose scores are equal but for that.
    other = sum(a[2:4] != b[2:4] for a, b in zip(found, expected, strict=True))
    assert other <= 0.001 * len(found)


def test_a_users_rows_fall_in_score_and_hold_nothing_seen(trained, shards, tmp_path, itrec):
    out = tmp_path / "top.parquet"
    assert itrec("recommend", trained, "--out", out, "-k", 20)[0] == 0
    described = manifest.read(shards)
    histories = reader.read_histories(shards, described)
    sources = reader.read_items(shards, described).source_ids
    for position, rows in enumerate(of_users(read(out)).values()):
        scores = [row[4] for row in rows]
        assert scores == sorted(scores, reverse=True)
        assert [row[1] for row in rows] == list(range(1, len(rows) + 1))
        chosen = {row[2] for row in rows}
        assert len(chosen) == len(rows)
        assert not chosen & {sources[i - 1] for i in histories.seen(position)}


def test_whoever_saw_nearly_everything_gets_the_rest(odd_run, odd_shards, tmp_path, itrec):
    out = tmp_path / "top.parquet"
    code, shown, err = itrec("recommend", odd_run, "--shards", odd_shards, "--out", out)
    assert code == 0, err
    described = manifest.read(odd_shards)
    users = reader.read_users(odd_shards, described).source_ids
    items = reader.read_items(odd_shards, described)
    rows = of_users(read(out))
    assert shown.startswith(
        f"recommendations for {len(users) - 1:,} users (2 got fewer than 5 items, or none"
    )
    assert users[1] not in rows  # there is nothing left for this one
    assert {len(rows[user]) for user in users[2:]} == {5}
    titles = {row[2]: row[3] for row in rows[users[0]]}
    last = items.source_ids[-1]
    assert titles == {
        items.source_ids[7]: FOREIGN,
        last: last,  # no title: the source's id stands in
    }


@pytest.mark.parametrize("k", [0, -1, 61])
def test_a_k_outside_the_catalogue_is_refused(k, trained, tmp_path, itrec):
    code, _, err = itrec("recommend", trained, "--out", tmp_path / "top.parquet", "-k", k)
    assert code == 2
    assert "between 1 and the catalogue's 60 items" in err
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_refused_untouched_then_overwritten(trained, tmp_path, itrec):
    out = tmp_path / "deep" / "top.parquet"
    assert itrec("recommend", trained, "--out", out)[0] == 0
    before = out.read_bytes()
    code, _, err = itrec("recommend", trained, "--out", out, "-k", 3)
    assert code == 2
    assert err == (
        f"itrec: error: {out} already exists: choose another place, or pass --overwrite to "
        "replace it\n"
    )
    assert out.read_bytes() == before
    assert itrec("recommend", trained, "--out", out, "-k", 3, "--overwrite")[0] == 0
    assert max(row[1] for row in read(out)) == 3
    assert [p.name for p in out.parent.iterdir()] == ["top.parquet"]


def test_a_folder_in_the_place_of_the_file_is_one_sentence(trained, tmp_path, itrec):
    code, _, err = itrec("recommend", trained, "--out", tmp_path, "--overwrite")
    assert code == 2
    assert err.startswith(f"itrec: error: cannot write {tmp_path}")
    assert err.count("\n") == 1


def test_a_folder_that_is_no_run_and_a_run_without_a_checkpoint_are_refused(
    trained, tmp_path, itrec
):
    out = tmp_path / "top.parquet"
    code, _, err = itrec("recommend", tmp_path, "--out", out)
    assert (code, "is not a run directory" in err) == (2, True)
    bare = tmp_path / "bare"
    shutil.copytree(trained, bare)
    shutil.rmtree(bare / "checkpoints" / "best")
    code, _, err = itrec("recommend", bare, "--out", out)
    assert code == 2
    assert "holds no checkpoint" in err
    assert itrec("recommend", bare, "--out", out, "--checkpoint", "last")[0] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "items.parquet", "manifest.json"])
def test_a_damaged_checkpoint_is_refused(name, trained, tmp_path, itrec):
    broken = tmp_path / "broken"
    shutil.copytree(trained, broken)
    file = broken / "checkpoints" / "best" / name
    file.write_bytes(file.read_bytes()[:-20])
    code, _, err = itrec("recommend", broken, "--out", tmp_path / "top.parquet")
    assert code == 2
    assert err.count("\n") == 1
    assert name in err
    assert not (tmp_path / "top.parquet").exists()


def test_a_run_from_another_place_says_where_its_shards_were(trained, tmp_path, itrec):
    moved = tmp_path / "moved"
    shutil.copytree(trained, moved)
    config = moved / "checkpoints" / "best" / "config.yaml"
    shards = json.dumps(str(tmp_path / "gone"))
    lines = config.read_text().splitlines()
    lines = [f"shards: {shards}" if line.startswith("shards:") else line for line in lines]
    config.write_text("\n".join(lines))
    reseal(config.parent)
    code, _, err = itrec("recommend", moved, "--out", tmp_path / "top.parquet")
    assert code == 2
    assert str(tmp_path / "gone") in err
    assert isinstance(restore(moved).run.shards, Path)
