"""What the tests of serving share."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def history_run(history_shards, tmp_path_factory, itrec) -> Path:
    """A small SASRec, hardly trained. Not to be changed."""
    run = tmp_path_factory.mktemp("served") / "run"
    code, _, err = itrec(
        "train", "--local", "--shards", history_shards, "--out", run, "--model.kind", "sasrec",
        "--model.width", 16, "--model.num_layers", 1, "--training.epochs", 1,
        "--training.batch_size", 64, "--cluster.threads", 1, "--engine.precision", "fp32",
    )  # fmt: skip
    assert code == 0, err
    return run
