"""Item vectors sharded over workers: the same numbers as in one place, however many workers."""

import pytest
import torch

from itrec_dist.distributed.context import LocalContext
from itrec_dist.distributed.row_sharding import RowSharding, ShardedTables
from itrec_dist.errors import ConfigError
from itrec_dist.losses.softmax import SoftmaxConfig
from itrec_dist.models.item_table import ItemTable, Queries
from itrec_dist.models.parts import sharded_items
from tests.cases import slow_after
from tests.sharded_items import (
    CPU,
    NUM_ITEMS,
    OPTIMIZERS,
    WIDTH,
    Course,
    SlowReference,
    make_data,
    train,
)

pytestmark = pytest.mark.usefixtures("one_thread")
TOTAL = 23


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("sharded") / "shards")


def table_of(total=TOTAL, width=3):
    return torch.randn(total, width, generator=torch.Generator().manual_seed(1))


def shards_of(table, num_workers):
    """The parts of a table whose rows go to the workers in turn."""
    return [
        torch.stack([row for r, row in enumerate(table) if r % num_workers == worker])
        for worker in range(num_workers)
    ]


@pytest.mark.parametrize("num_workers", [1, 2, 3, 7])
def test_parts_of_any_number_of_workers_give_the_rows_of_the_table(num_workers):
    table = table_of()
    parts = shards_of(table, num_workers)
    assert [RowSharding(w, num_workers).count(TOTAL) for w in range(num_workers)] == list(
        map(len, parts)
    )
    tables = ShardedTables({"x": parts})
    assert tables.num_rows("x") == TOTAL
    for start in range(TOTAL):
        for stop in range(start, TOTAL + 1):
            assert torch.equal(tables.block("x", start, stop), table[start:stop])
    rows = torch.tensor([5, 22, 0, 7])
    assert torch.equal(tables.rows("x", rows), table[rows])
    for others in (1, 2, 5):
        for worker, expected in enumerate(shards_of(table, others)):
            own = torch.zeros_like(expected)
            tables.copy_rows("x", RowSharding(worker, others), own)
            assert torch.equal(own, expected)


def exchange(context):
    """What each of two workers fetches and sends, and the table in blocks."""
    table, sharding = table_of(), RowSharding(context.rank, context.world_size)
    own = shards_of(table, 2)[context.rank]
    asked = torch.tensor([[2, 3, 8, 22], [3]][context.rank])
    fetched = sharding.fetch(asked, own.__getitem__)
    nothing = sharding.fetch(asked[:0], own.__getitem__)
    sums = sharding.add_up(asked, table[asked] * (1 + context.rank))
    blocks = [sharding.block(own, start, stop) for start, stop in ((0, 23), (3, 4), (7, 12))]
    return fetched, nothing, sums, blocks


def test_two_workers_fetch_rows_and_add_up_what_they_have_for_them(pair):
    table = table_of()
    (first, none, sums_0, blocks), (second, _, sums_1, others) = pair.run(exchange)
    assert torch.equal(first, table[[2, 3, 8, 22]])
    assert torch.equal(second, table[[3]])
    assert none.shape == (0, 3)
    assert sums_0[0].tolist() == [1, 4, 11]  # the places of the rows 2, 8, 22
    assert torch.equal(sums_0[1], table[[2, 8, 22]])
    assert sums_1[0].tolist() == [1]  # both had something for row 3
    torch.testing.assert_close(sums_1[1], table[[3]] * 3)
    for found in (blocks, others):
        for block, (start, stop) in zip(found, ((0, 23), (3, 4), (7, 12)), strict=True):
            assert torch.equal(block, table[start:stop])


def test_initial_vectors_do_not_depend_on_who_has_them(shards, monkeypatch):
    monkeypatch.setattr(sharded_items, "_DRAWN_AT_ONCE", 7)
    spec = Course(shards, LocalContext(CPU, 1), OPTIMIZERS["sgd"]).spec
    bias = torch.arange(NUM_ITEMS).float()

    def parts(num_workers):
        for rank in range(num_workers):
            torch.manual_seed(5)
            items = sharded_items.ItemShard(spec, RowSharding(rank, num_workers), 3, 0.5, bias=True)
            items.draw()
            items.set_bias(bias)
            yield items.weight_RD, items.bias_R

    ((alone, _),) = parts(1)
    assert 0.3 < float(alone.std()) < 0.7
    assert len(alone.unique(dim=0)) == NUM_ITEMS
    for num_workers in (2, 3):
        weights, biases = zip(*parts(num_workers), strict=True)
        tables = ShardedTables({"weight": weights, "bias": biases})
        assert torch.equal(tables.block("weight", 0, NUM_ITEMS), alone)
        assert torch.equal(tables.block("bias", 0, NUM_ITEMS), bias)


def test_scores_are_those_of_a_table_in_one_place_and_padding_takes_no_row(shards):
    items = Course(shards, LocalContext(CPU, 1), OPTIMIZERS["sgd"]).engine.rows.items
    queries = Queries(torch.randn(4, WIDTH))
    plain, table = ItemTable(items.weight_RD, items.bias_R), items.table(None)
    ids = torch.tensor([[3, 0], [0, 0], [23, 1], [7, 7]])
    shared = torch.tensor([[1, 9, 23], [1, 9, 9]])
    torch.testing.assert_close(table.scores_of(queries, ids), plain.scores_of(queries, ids))
    for found, expected in zip(
        table.scores_of_shared(queries, ids, shared),
        plain.scores_of_shared(queries, ids, shared),
        strict=True,
    ):
        torch.testing.assert_close(found, expected)
    assert [one.rows_U.tolist() for one in items.taken] == [[0, 2, 6, 22], [0, 2, 6, 8, 22]]
    with torch.no_grad():
        assert torch.equal(table.all_scores(queries), plain.all_scores(queries))
    for ask in (
        lambda: table.all_scores(queries), lambda: table.weight_CD,
        lambda: SoftmaxConfig(memory="chunks").per_query(queries, ids, table),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=r"sampled_softmax and gbce"):
            ask()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_worker_learns_what_a_loop_over_rows_does(name, shards):
    course = Course(shards, LocalContext(CPU, 1), OPTIMIZERS[name])
    start = course.whole()
    expected = SlowReference(shards, start, name).train()
    course.train()
    found = course.whole()
    for weight, value in expected.items():
        torch.testing.assert_close(found[weight], value, atol=1e-6, rtol=1e-5)
        assert not torch.equal(value, start[weight])
    unused = NUM_ITEMS - 1  # no training window has it
    table = found["item_embedding.weight"]
    assert torch.equal(table[unused], start["item_embedding.weight"][unused])


@pytest.mark.parametrize(
    ("name", "shared"),
    slow_after(2, [("adamw", True), ("adagrad", False), ("adamw", False), ("sgd", True)]),
)
def test_two_workers_learn_what_one_learns(name, shared, shards, pair):
    losses, alone = train(LocalContext(CPU, 1), shards, name, shared)
    for found, whole in pair.run(train, shards, name, shared):
        assert found == pytest.approx(losses, abs=1e-6)
        assert set(whole) == set(alone)
        for weight, value in alone.items():
            torch.testing.assert_close(whole[weight], value, atol=1e-6, rtol=1e-5)
