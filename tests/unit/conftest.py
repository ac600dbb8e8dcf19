"""What tests of the training code share, and places at URIs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from itrec_dist.storage.uri import Uri
from tests import object_store
from tests.cases import slow_after


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """One CPU thread: on the tiny products of tests more would only wait for each other."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The URI of an empty bucket on a server of the S3 protocol."""
    if object_store.command() is None:
        pytest.skip("moto_server is not installed: pip install -e '.[dev]'")
    with object_store.serving() as uri:
        yield uri


@pytest.fixture(params=slow_after(1, ["file", "s3"]))
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uri:
    """A URI, in a folder or a bucket, and a machine that has fetched nothing."""
    object_store.machine(monkeypatch, tmp_path / "machine")
    base = f"file://{tmp_path / 'store'}"
    if request.param == "s3":
        base = f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return Uri(f"{base}/runs/x")
