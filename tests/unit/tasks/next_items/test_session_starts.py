"""The baseline of what users do on coming back, counted by hand."""

import pytest
import torch

from itrec_dist.data import manifest as manifests
from itrec_dist.data.sources.table import TableColumns, TableConfig
from itrec_dist.tasks.next_items import baselines
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.scoring import Inputs

SINCE, HOUR = 1_600_000_000, 3600
# The last two events of each user are the targets of the test and validation splits.
EVENTS = {
    "ann": [("a", 0), ("b", 1), ("c", HOUR + 1), ("d", HOUR + 2), ("a", 90 * HOUR),
            ("e", 99 * HOUR), ("e", 999 * HOUR)],
    "bob": [("c", 5), ("a", 5 + HOUR - 1), ("c", 30 * HOUR), ("e", 31 * HOUR), ("e", 99 * HOUR)],
    "cy": [("e", 0), ("c", 2 * HOUR), ("e", 3 * HOUR), ("e", 8 * HOUR)],
}  # fmt: skip


@pytest.fixture(params=[1, 1000], ids=["seconds", "milliseconds"])
def training(tmp_path, request):
    lines = [
        f"{user},{item},{(SINCE + time) * request.param}"
        for user, events in EVENTS.items()
        for item, time in events
    ]
    (tmp_path / "events.csv").write_text("\n".join(["user,item,timestamp", *lines]))
    shards = tmp_path / "shards"
    config = HistoryConfig(max_length=3)  # shorter than ann's history, which is cut into rows
    columns = TableConfig(columns=TableColumns())
    histories("table", tmp_path / "events.csv", shards, config, columns)
    return baselines.NextItemsBaselines().training(shards, manifests.read(shards))


@pytest.mark.parametrize(
    ("hours", "counts"),
    [
        (1.0, {"c": 3, "a": 1}),  # ann's c and a, bob's c, cy's c
        (0.5, {"c": 3, "a": 2}),  # bob's a too
        (50.0, {"a": 1}),
        (10_000.0, {"a": 2, "b": 1, "c": 3, "d": 1}),  # nobody pauses so long: all targets
    ],
)
def test_targets_after_a_pause_are_counted(training, hours, counts):
    scorer = baselines.BASELINES["session_starts"](pause_hours=hours).fit(training)
    scores = scorer(Inputs(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2)))
    expected = [float(counts.get(item, 0)) for item in training.items.source_ids]
    assert scores.tolist() == [expected, expected]
