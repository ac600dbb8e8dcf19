"""Training through Ray: two workers give what one process gives, and mistakes stay sentences."""

import json
import shutil

import pyarrow.parquet as pq
import pytest

from itrec_dist import config
from itrec_dist.data import manifest
from itrec_dist.data.batches import Share
from itrec_dist.data.feeds import StreamedFeed
from itrec_dist.data.shards.splits import WindowReader, read_split, split_files
from itrec_dist.distributed.context import LocalContext, RayContext
from itrec_dist.errors import ShardsError
from itrec_dist.runs.directory import RunDirectory
from itrec_dist.training.config import RunConfig
from tests.cases import slow_after
from tests.fixtures import DEBUG_RECIPE, TRAINED_EPOCHS, train_on_two
from tests.stopped_runs import start

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]


def ray_blocks(files, columns=None):
    """What `RayContext.blocks` gives a worker; a context itself exists in workers only."""
    return RayContext.blocks(None, files, columns)


def test_two_workers_train_and_judge_as_one_process_does(trained, shards, tmp_path):
    out = tmp_path / "run"
    code, shown, err = train_on_two(shards, out)
    assert (code, err) == (0, "")
    assert "2 workers" in shown.splitlines()[0]
    assert [line[:9] for line in shown.splitlines()[1:5]] == [f"epoch   {i}" for i in (1, 2, 3, 4)]
    run, local = RunDirectory(out), RunDirectory(trained)
    assert {p.name for p in out.iterdir()} == {p.name for p in trained.iterdir()}
    assert {p.name for p in run.checkpoints.iterdir()} == {"best", "last"}
    assert [e["event"] for e in run.events() if e["event"] != "progress"] == [
        "start", *["epoch"] * TRAINED_EPOCHS, "end",
    ]  # fmt: skip
    for two, one in zip(run.events("epoch"), local.events("epoch"), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert two["step"] == one["step"]
        for split in ("train", "validation"):
            same_judgement(two[split], one[split])
    evaluations = [
        json.loads((folder / "evaluation.json").read_text()) for folder in (out, trained)
    ]
    described = manifest.read(shards)
    assert evaluations[0]["epoch"] == evaluations[1]["epoch"]
    for split in ("validation", "test"):
        same_judgement(*(e["splits"][split] for e in evaluations))
        assert evaluations[0]["splits"][split]["num_windows"] == described.num_windows(split)
    samples = [json.loads((folder / "samples.json").read_text()) for folder in (out, trained)]
    assert [u["actual"] for u in samples[0]["users"]] == [u["actual"] for u in samples[1]["users"]]


@pytest.mark.slow
def test_two_workers_resume_what_one_process_began(trained, shards, tmp_path):
    out = tmp_path / "run"
    begun = config.load(
        RunConfig, DEBUG_RECIPE,
        [
            f"shards={shards}", f"out={out}", f"training.epochs={TRAINED_EPOCHS}",
            "checkpoints.steps=5", "training.log_seconds=0",
        ],
    )  # fmt: skip
    steps = RunDirectory(trained).events("start")[0]["steps_per_epoch"]
    start(begun, stop_at=steps + 7)
    code, shown, err = train_on_two(shards, out, "--resume")
    assert (code, err) == (0, "")
    assert "2 workers in place of 1" in shown
    assert "epoch   1/" not in shown, "what was shown when it was trained"
    run = RunDirectory(out)
    record = run.read_json(run.checkpoints / "last" / "state" / "state.json")
    assert (record["made"]["engine"], record["made"]["world_size"]) == ("ddp", 2)
    again = {event["epoch"]: event for event in run.events("epoch")}
    for one in RunDirectory(trained).events("epoch"):
        assert again[one["epoch"]]["loss"] == pytest.approx(one["loss"], rel=1e-4)
        assert again[one["epoch"]]["step"] == one["step"]
    assert run.is_complete
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ["best", "last"]


def same_judgement(a, b):
    """Equal within what sums in another order change: at most one window's rank here or there."""
    assert a["num_windows"] == b["num_windows"]
    assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    for ranking in ("unmasked", "masked"):
        for name, value in b[ranking].items():
            assert a[ranking][name] == pytest.approx(value, abs=2 / b["num_windows"]), name


@pytest.mark.parametrize("buffer_size", slow_after(1, [50, 10_000]))
def test_streamed_workers_see_every_window_once(buffer_size, shards):
    described = manifest.read(shards)
    files = split_files(shards, described, "train")
    device = LocalContext().device
    seen, real, steps = [], 0.0, []
    for rank in range(2):
        share = Share(32, rank, 2)
        feed = StreamedFeed(files, WindowReader(described, ray_blocks), share, device, buffer_size)
        found = list(feed.epoch((0, 1)))
        steps.append(len(found))
        for batch in found:
            seen += batch.window_ids_B[batch.weight_B > 0].tolist()
            real += batch.denominator
            assert len(batch.window_ids_B) == 16
    all_windows = read_split(shards, described, "train", LocalContext().blocks)
    assert sorted(seen) == all_windows.window_ids.tolist()
    assert seen != sorted(seen)
    assert steps[0] == steps[1]
    assert real == pytest.approx(len(seen))


def test_blocks_come_in_the_order_of_the_files(shards):
    described = manifest.read(shards)
    files = [f.path for f in split_files(shards, described, "train")]
    for order in (files, files[::-1]):
        streamed = [block["window_id"].to_pylist() for block in ray_blocks(order)]
        read = [block["window_id"].to_pylist() for block in LocalContext().blocks(order)]
        assert streamed == read


@pytest.mark.parametrize("cached", [False, True])
def test_a_folder_of_any_name_is_read_and_no_other(cached, shards, tmp_path, monkeypatch):
    if cached:
        monkeypatch.setenv("ITREC_CACHE", str(tmp_path))
    part, other = sorted((shards / "train").iterdir())[:2]
    names = ["a", "a b", *"a%20b a% a? a?b a#b a;b [a] a* user=7 s3: ~".split()]
    for name in names:
        folder = tmp_path / name / "train"
        folder.mkdir(parents=True)
        shutil.copyfile(other if name == "a" else part, folder / part.name)
    wanted = pq.read_table(part)["window_id"].to_pylist()
    for name in names[1:]:
        blocks = ray_blocks([tmp_path / name / "train" / part.name], ["window_id"])
        assert [i for b in blocks for i in b["window_id"].to_pylist()] == wanted, name


@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_blocks_name_the_file_that_cannot_be_read(damage, shards, tmp_path):
    files = []
    for part in sorted((shards / "train").iterdir()):
        files.append(tmp_path / part.name)
        shutil.copyfile(part, files[-1])
    if damage == "cut":
        files[1].write_bytes(files[1].read_bytes()[:200])
    elif damage == "flipped":  # a bit in the middle of the data
        whole = bytearray(files[1].read_bytes())
        footer = int.from_bytes(whole[-8:-4], "little")
        whole[(len(whole) - footer) // 2] ^= 1
        files[1].write_bytes(whole)
    else:
        files[1].unlink()
    with pytest.raises(ShardsError) as told:
        list(ray_blocks(files))
    # A page that differs from its checksum is not said to be of a file.
    assert str(tmp_path if damage == "flipped" else files[1]) in str(told.value)
    assert "window the data again" in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.slow
def test_a_mistake_that_a_worker_meets_is_one_sentence_and_code_2(shards, tmp_path, capfd):
    broken = tmp_path / "broken"
    shutil.copytree(shards, broken)
    part = broken / "train" / "part-00002.parquet"
    part.write_bytes(part.read_bytes()[:200])
    code, shown, err = train_on_two(broken, tmp_path / "run")
    assert (code, shown) == (2, "")
    assert err.startswith("itrec: error: ")
    assert str(part) in err
    assert err.count("\n") == 1
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            ["--cluster.cpus_per_worker", 5000],
            "need 10000 CPUs, and one more to read their data, the cluster has ",
        ),
        (["--cluster.use_gpu", "true", "--cluster.num_workers", 32], "GPUs: lower"),
        (["--training.batch_size", 33], "multiple of 2"),
        (["--evaluation.batch_size", 33], "multiple of 2"),
        (
            ["--cluster.num_workers", 8, "--feed.cache", "none"],
            "4 training files cannot be split among 8 workers",
        ),
    ],
)
def test_what_the_cluster_cannot_give_is_refused_before_anything_is_written(
    given, told, shards, tmp_path
):
    code, shown, err = train_on_two(shards, tmp_path / "run", *given)
    assert (code, shown) == (2, "")
    assert told in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
