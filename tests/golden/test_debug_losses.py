"""The losses of the debug recipe, step by step, against stored ones.

A change of these numbers is a change of what is trained: data, order, model, loss or optimiser.
If it is meant, `pytest tests/golden --regenerate-golden` stores the new ones.
"""

import json
from pathlib import Path

import pytest

from itrec_dist.data import manifest
from itrec_dist.runs.directory import RunDirectory
from tests.fixtures import DEBUG_RECIPE

GOLDEN = Path(__file__).with_name("debug_losses.json")


@pytest.fixture(scope="module")
def found(shards, tmp_path_factory, itrec):
    """What the debug recipe gives with each loss, for its two epochs in float32 on one thread."""
    losses = {}
    for loss in ("bce", "ce", "softmax"):
        out = tmp_path_factory.mktemp("golden") / loss
        code, _, err = itrec(
            "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
            "--loss", loss, "--training.log_seconds", 0,
        )  # fmt: skip
        assert code == 0, err
        run = RunDirectory(out)
        epochs = run.events("epoch")
        losses[loss] = {
            "steps": [event["loss"] for event in run.events("progress")],
            "epochs": [event["loss"] for event in epochs],
            "validation": [event["validation"]["loss"] for event in epochs],
        }
    return {"fingerprint": manifest.read(shards).fingerprint, "losses": losses}


def test_the_debug_recipe_gives_the_stored_losses(found, request):
    if request.config.getoption("--regenerate-golden"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        pytest.skip(f"wrote {GOLDEN.name}")
    stored = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert found["fingerprint"] == stored["fingerprint"], (
        "the generated data or its windows changed: no loss can be expected to be the same"
    )
    assert found["losses"].keys() == stored["losses"].keys()
    for loss, curves in stored["losses"].items():
        for name, values in curves.items():
            assert found["losses"][loss][name] == pytest.approx(values, rel=1e-4), (loss, name)


def test_a_changed_loss_would_be_seen(found):
    """The tolerance is far below what one step changes."""
    for curves in found["losses"].values():
        steps = curves["steps"]
        assert len(steps) == len(set(steps))
        assert max(steps) - min(steps) > 100 * 1e-4 * steps[0]
