"""The paper's random windows with whole histories as input, beside the fixed windows themselves."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from itrec_dist.api.shards import _samples_of
from itrec_dist.data import manifest as manifests
from itrec_dist.data import schema
from itrec_dist.data.history_feeds import HistoryFeed, HistoryShare, HistoryTable
from itrec_dist.data.schema import PAD
from itrec_dist.data.shards import splits
from itrec_dist.data.shards.arrays import HistoryRows
from itrec_dist.data.shards.reader import table_to_history_rows
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.data.targets_ahead import Ahead
from itrec_dist.data.training_sequences import Sequences
from itrec_dist.errors import ConfigError, DataError, ShardsError
from itrec_dist.tasks.next_items.baselines.linear_history import normal_equations
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from tests.cases import slow_after
from tests.histories_factory import training_rows

CPU = torch.device("cpu")
RATED = TableConfig(columns=TableColumns(rating="rating"))
SHARED = {"target_length": 2, "top_items": 9, "min_user_events": 6, "num_shards": 2}


def written(folder: Path, seed: int = 0) -> Path:
    """A table of users with 1 to 40 events of 12 items, some at the same time."""
    rng = random.Random(seed)
    events = [
        (f"u{user}", f"i{rng.randrange(12) * rng.randrange(2)}", rng.randrange(60))
        for user in range(30)
        for _ in range(rng.choice([1, 4, 6, 9, 20, 40]))
    ]
    names = ("user", "item", "timestamp")
    columns = dict(zip(names, map(list, zip(*events, strict=True)), strict=True))
    columns["rating"] = [1.0] * len(events)
    pq.write_table(pa.table(columns), folder / "events.parquet")
    return folder / "events.parquet"


def cut(folder: Path, seed: int = 0, **given) -> tuple[Path, Path]:
    """Fixed windows and histories of the same settings."""
    events = written(folder, seed)
    shares = {"validation_fraction": 0.2, "test_fraction": 0.2, "seed": seed}
    fixed = WindowConfig(input_length=4, stride=3, repeats="keep", **SHARED, **shares)
    whole = HistoryConfig(
        "random_windows", window_inputs=4, window_stride=3, **SHARED, **shares, **given
    )
    window("table", events, folder / "fixed", fixed, RATED)
    histories("table", events, folder / "whole", whole, RATED)
    return folder / "fixed", folder / "whole"


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> tuple[Path, Path]:
    """Fixed windows and histories, whose rows are short."""
    return cut(tmp_path_factory.mktemp("shards"), max_length=9)


def learned(rows: HistoryRows, row: int) -> list[tuple[int, int]]:
    """Place in the row and item of every event that a training row learns from."""
    items, given = rows.item_ids[row].tolist(), rows.target_ids[row].tolist()
    context = int(rows.num_context[row])
    given = given or items[context:]
    assert all(item in (PAD, items[context + n]) for n, item in enumerate(given))
    return [(context + n, item) for n, item in enumerate(given) if item != PAD]


@pytest.mark.parametrize(
    ("seed", "max_length", "overlap"), slow_after(1, [(1, 5, 2), (0, 50, 0), (2, 8, 0), (3, 3, 0)])
)
def test_the_windows_are_the_fixed_ones_with_the_history_before_them(
    tmp_path, seed, max_length, overlap
):
    fixed, whole = cut(tmp_path, seed, max_length=max_length, overlap=overlap)
    of_fixed, of_whole = manifests.read(fixed), manifests.read(whole)
    for file in (schema.ITEMS_FILE, schema.USERS_FILE):
        assert pq.read_table(whole / file).equals(pq.read_table(fixed / file)), file
    for split in ("validation", "test"):
        wanted = splits.read_split(fixed, of_fixed, split)
        found = splits.read_history_split(whole, of_whole, split)
        assert len(found) == len(wanted) > 9
        for i in range(len(found)):
            assert found.user_ids[i] == wanted.user_ids[i]
            assert found.target_ids[i].tolist() == wanted.target_ids[i].tolist()
            assert found.target_times[i][0] == wanted.target_time[i]
            newest = min(max_length, 4)
            assert found.item_ids[i][-newest:].tolist() == wanted.item_ids[i][-newest:].tolist()
            assert len(found.item_ids[i]) == max_length or len(found.item_ids[i]) >= 4
    windows = splits.read_split(fixed, of_fixed, "train")
    rows = splits.read_history_split(whole, of_whole, "train")
    wanted_targets = Counter(
        (user, item)
        for user, items in zip(windows.user_ids.tolist(), windows.target_ids.tolist(), strict=True)
        for item in items
    )
    assert wanted_targets == Counter(
        (int(rows.user_ids[i]), item) for i in range(len(rows)) for _, item in learned(rows, i)
    )
    assert rows.is_learned.sum() == windows.target_ids.size


def test_no_held_out_target_is_learned_from_though_it_is_an_input(shards):
    fixed, whole = shards
    made = manifests.read(whole)
    assert made.protocol == "random_windows"
    assert made.catalogue_from == "all data"
    for counts in made.audit.values():
        assert counts["targets_in_training_targets"] == 0
        assert counts["promised_zero"] == ["targets_in_training_targets"]
        assert counts["targets_in_training_inputs"] > 0
    assert (made.settings["window_inputs"], made.settings["window_stride"]) == (4, 3)
    assert [step["name"] for step in made.steps] == [
        step["name"] for step in manifests.read(fixed).steps
    ]
    assert made.coverage[0].split == "any"
    assert made.coverage[0].num_users_without == 0


def test_shards_of_the_other_protocols_do_not_record_windows(tmp_path):
    histories("table", written(tmp_path), tmp_path / "out", HistoryConfig(), RATED)
    settings = manifests.read(tmp_path / "out").settings
    assert "window_inputs" not in settings
    assert "window_stride" not in settings


@pytest.mark.parametrize("ahead", [Ahead(1), Ahead(2), Ahead(3), Ahead(3, within=5)])
@pytest.mark.parametrize("use", ["steps", "prefixes"])
def test_positions_have_the_learned_events_among_those_that_follow(shards, ahead, use):
    _, whole = shards
    rows = splits.read_history_split(whole, manifests.read(whole), "train")
    wanted: dict[tuple[int, int], list[int]] = {}
    for row in range(len(rows)):
        times, at = rows.times[row].tolist(), dict(learned(rows, row))
        for place in range(1, len(times)):
            near = [
                at[p]
                for p in range(place, min(place + ahead.count, len(times)))
                if p in at and (ahead.within is None or times[p] - times[place - 1] <= ahead.within)
            ]
            if near:
                wanted[int(rows.window_ids[row]), place] = near
    width = 9 if use == "prefixes" else None
    feed = HistoryFeed(HistoryTable(rows, CPU, 2, ahead), HistoryShare(8), CPU, use, width)
    lengths = dict(zip(rows.window_ids.tolist(), rows.item_ids.lengths.tolist(), strict=True))
    found: dict[tuple[int, int], list[int]] = {}
    for epoch in range(1 if use == "steps" else 60):
        for batch in feed.epoch((0, epoch)):
            found |= targets_of(batch, use, lengths)
    assert found == wanted
    assert feed.num_windows == (len(wanted) if use == "steps" else len({w for w, _ in wanted}))


def targets_of(batch, use: str, lengths: dict[int, int]) -> dict[tuple[int, int], list[int]]:
    """Row and place of the first event ahead -> the targets there."""
    found = {}
    for b, row in enumerate(batch.window_ids_B.tolist()):
        if not batch.weight_B[b]:
            continue
        if use == "prefixes":
            place = int((batch.item_ids_BL[b] != PAD).sum())
            found[row, place] = [i for i in batch.target_ids_BK[b].tolist() if i != PAD]
            continue
        width = batch.item_ids_BL.shape[1]
        for place in range(width):
            items = [int(batch.step_target_ids_BL[b, place])]
            if batch.further_target_ids_BLK is not None:
                items += batch.further_target_ids_BLK[b, place].tolist()
            assert items[0] != PAD or not any(items)
            if items[0] != PAD:
                found[row, lengths[row] - width + place] = [i for i in items if i != PAD]
    return found


def test_where_every_event_is_learned_from_batches_are_the_usual_ones():
    rows = training_rows(20, longest=9)
    plain = HistoryFeed(HistoryTable(rows, CPU, 1, Ahead(3)), HistoryShare(4), CPU, "steps")
    assert rows.is_learned.sum() == plain._table.num_targets.sum()
    assert not rows.chooses_targets.any()


def test_baselines_count_what_is_learned_from(tmp_path):
    _, whole = cut(tmp_path, max_length=50)
    made = manifests.read(whole)
    rows = splits.read_history_split(whole, made, "train")
    sequences = Sequences.of(rows)
    gram_CC, cross_CC = normal_equations(sequences, made.num_items, 0.8)
    wanted_gram, wanted_cross = np.zeros((2, made.num_items, made.num_items))
    pairs = set()
    for row in range(len(rows)):
        items = rows.item_ids[row] - 1
        for place, item in learned(rows, row):
            x = np.zeros(made.num_items)
            np.add.at(x, items[:place], 0.8 ** np.arange(place)[::-1])
            wanted_gram += np.outer(x, x)
            wanted_cross[:, item - 1] += x
            pairs.add((int(rows.user_ids[row]), item))
    np.testing.assert_allclose(np.tril(gram_CC), np.tril(wanted_gram))
    np.testing.assert_allclose(cross_CC, wanted_cross)
    users, items = sequences.interactions(made.num_items).nonzero()
    assert len(users) == len(pairs)
    popularity = pq.read_table(whole / schema.ITEMS_FILE)["num_train_targets"].to_pylist()
    assert popularity == np.bincount(
        sequences.target_ids.reshape(-1), minlength=made.num_items + 1
    )[1:].tolist()  # fmt: skip


def test_the_library_takes_fixed_windows_for_this_protocol_unless_told_otherwise():
    assert _samples_of(None, "random_windows") == "windows"
    assert _samples_of(None, "leave_last") == _samples_of(None, None) == "histories"


def test_windows_that_overlap_in_their_targets_are_refused():
    with pytest.raises(ConfigError, match="window_stride of at least target_length"):
        HistoryConfig("random_windows", target_length=11)


def test_too_short_histories_are_refused_in_a_sentence(tmp_path):
    events = written(tmp_path)
    config = HistoryConfig("random_windows", window_inputs=90)
    with pytest.raises(DataError, match="one needs 91 events in a row"):
        histories("table", events, tmp_path / "out", config, RATED)
    assert not (tmp_path / "out").exists()


def test_targets_that_do_not_fit_their_row_are_refused(shards):
    made = manifests.read(shards[1])
    table = pq.read_table(shards[1] / made.splits["train"][0].name)
    lists = table["target_ids"].to_pylist()
    row = next(i for i, given in enumerate(lists) if given)
    lists[row] = [*lists[row], 1]
    longer = pa.array(lists, table["target_ids"].type)
    place = table.column_names.index("target_ids")
    with pytest.raises(ShardsError, match="more or fewer target_ids"):
        table_to_history_rows(table.set_column(place, table.field(place), longer), made)
