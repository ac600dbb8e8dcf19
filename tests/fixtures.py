"""What several tests share, made once per session: generated data, its shards, a tiny run, Ray."""

import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from itrec_dist import metrics
from itrec_dist.cli.app import main
from itrec_dist.data.sources.synthetic import SyntheticConfig, generate
from itrec_dist.runs.lease import RemoteLock
from itrec_dist.tasks.next_items.histories import HistoryConfig, histories
from itrec_dist.tasks.next_items.windows import WindowConfig, window
from itrec_dist.tasks.ratings.windows import RatingWindowConfig, window_ratings
from tests import outside_metrics as outside
from tests.pair import Pair

ROOT = Path(__file__).parents[1]
DEBUG_RECIPE = ROOT / "jobs" / "recipes" / "debug.yaml"
SMALL = SyntheticConfig(users=300, movies=100, ratings_per_user=25.0, seed=3)
CUT = WindowConfig(
    top_items=60, validation_fraction=0.2, test_fraction=0.2, stride=4, num_shards=4, threads=1
)
HELD_OUT = RatingWindowConfig(input_length=5, num_shards=4, threads=1)

TRAINED_EPOCHS = 4
"""Of the fixture `trained` and what is compared with it."""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session", autouse=True)
def leases_are_quick() -> Iterator[None]:
    """A run at a URI waits for rivals to be seen; here there are none, or they answer at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RemoteLock, "settle_seconds", 0.2)
        yield


@pytest.fixture(scope="session", autouse=True)
def copies_stay_out_of_the_home_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the processes of this machine share is written to a folder of this session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ITREC_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def ratings_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated ratings in the format of MovieLens-1M."""
    folder = tmp_path_factory.mktemp("generated") / "ratings"
    generate(SMALL, folder)
    return folder


@pytest.fixture(scope="session")
def shards(ratings_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their windows, with validation and test splits, in four training files. Not to be changed."""
    folder = tmp_path_factory.mktemp("windowed") / "shards"
    window("ml-1m", ratings_folder, folder, CUT)
    return folder


@pytest.fixture(scope="session")
def rated_shards(ratings_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ratings held out at random, one by one. Not to be changed."""
    folder = tmp_path_factory.mktemp("windowed") / "rated"
    window_ratings("ml-1m", ratings_folder, folder, HELD_OUT)
    return folder


@pytest.fixture(scope="session")
def history_shards(ratings_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same ratings as whole histories, last events held out. Not to be changed."""
    folder = tmp_path_factory.mktemp("windowed") / "histories"
    histories("ml-1m", ratings_folder, folder, HistoryConfig(max_length=20))
    return folder


@pytest.fixture
def outside_metrics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package with the metrics f1, miss_rate and within; another has `MAPMetric`."""
    package = tmp_path / "site-packages"
    info = package / "theirs-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(outside.ENTRY_POINTS)
    for name, source in outside.SOURCES.items():
        (package / name).write_text(source)
    monkeypatch.syspath_prepend(package)
    before = vars(metrics.METRICS).pop("_installed", None)  # what is installed is looked up once
    yield
    vars(metrics.METRICS).pop("_installed", None)
    if before is not None:
        vars(metrics.METRICS)["_installed"] = before
    for name in outside.SOURCES:
        sys.modules.pop(name.removesuffix(".py"), None)
    for found in (metrics._given, metrics._made):
        for metric in [m for m in found.values() if type(m).__module__.startswith("their_")]:
            del found[metric.name]


def call(*arguments: object) -> tuple[int, str, str]:
    """`itrec` in this process: exit code, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as leaving:  # after --help
            code = int(leaving.code or 0)
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="session")
def itrec() -> Command:
    """The command, run in this process."""
    return call


@pytest.fixture(scope="session")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The debug recipe trained for four epochs on `shards`. Not to be changed."""
    run = tmp_path_factory.mktemp("trained") / "run"
    code, _, err = call(
        "train", "--local", "--config", DEBUG_RECIPE, "--shards", shards, "--out", run,
        "--training.epochs", TRAINED_EPOCHS,
    )  # fmt: skip
    assert code == 0, err
    return run


def train_on_two(shards: Path, out: Path, *more: object) -> tuple[int, str, str]:
    """What `trained` is, by two workers of the Ray session."""
    return call(
        "train", "--config", DEBUG_RECIPE, "--shards", shards, "--out", out,
        "--cluster.num_workers", 2, "--training.epochs", TRAINED_EPOCHS, *more,
    )  # fmt: skip


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two processes that are joined by torch alone, for every test that is marked `pair`."""
    with Pair(tmp_path_factory.mktemp("pair")) as pair:
        yield pair


@pytest.fixture(scope="session")
def ray_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One Ray on this machine for every test that is marked `ray`."""
    import ray

    from itrec_dist.launch.cluster import join

    with pytest.MonkeyPatch.context() as patch:  # what workers fetch stays out of the home folder
        patch.setenv("ITREC_CACHE", str(tmp_path_factory.mktemp("fetched by workers")))
        join(None)
    yield
    ray.shutdown()
