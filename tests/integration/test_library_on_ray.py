"""`itrec.train` without `local=True`: the library on Ray gives what it gives in one process."""

import pytest

import itrec_dist as itrec

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]

MODEL = itrec.models.SASRec(width=8, num_layers=1, dropout=0.0)
TINY = {
    "training": {"epochs": 1, "batch_size": 64}, "evaluation": {"train_sample": 0},
    "engine": {"precision": "fp32"}, "seed": 3,
}  # fmt: skip


@pytest.mark.slow
def test_two_workers_of_a_program_train_as_the_program_itself_does(history_shards, tmp_path):
    data = itrec.open(history_shards)
    alone = itrec.train(
        data, MODEL, out=tmp_path / "alone", local=True, cluster={"threads": 1}, **TINY
    )
    workers = {"num_workers": 2, "threads": 1}
    run = itrec.train(data, MODEL, out=tmp_path / "two", cluster=workers, **TINY)
    assert run.config.cluster.num_workers == 2
    (one,), (two,) = alone.events("epoch"), run.events("epoch")
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    figures = dict(alone.metrics["test"])
    assert dict(run.metrics["test"]) == pytest.approx(figures, rel=1e-4, abs=1e-4)
    assert run.recommend(k=3).num_rows == 3 * data.num_users
