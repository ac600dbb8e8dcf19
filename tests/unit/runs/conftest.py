"""A place for runs at a URI: a folder, and a bucket on a server of the S3 protocol."""

import pytest

from itrec_dist.storage.uri import Uri
from tests import object_store
from tests.cases import slow_after


@pytest.fixture(scope="module")
def bucket():
    if object_store.command() is None:
        pytest.skip("moto_server is not installed: pip install -e '.[dev]'")
    with object_store.serving() as uri:
        yield uri


@pytest.fixture(params=slow_after(1, ["file", "s3"]))
def place(request, tmp_path, monkeypatch):
    """A URI for a run, and a machine that has fetched nothing."""
    object_store.machine(monkeypatch, tmp_path / "machine")
    base = f"file://{tmp_path / 'store'}"
    if request.param == "s3":
        base = f"{request.getfixturevalue('bucket')}/{tmp_path.name}"
    return Uri(f"{base}/runs/x")
