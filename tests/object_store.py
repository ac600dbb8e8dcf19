"""A server of the S3 protocol in a process of its own, and folders at URIs for tests."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BUCKET = "tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def command() -> str | None:
    """moto's server, which the development extras install."""
    return shutil.which("moto_server")


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Serve an empty bucket; yields its URI. The environment names the server meanwhile."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    program = command()
    assert program is not None
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    process = subprocess.Popen(
        [program, "-H", "127.0.0.1", "-p", str(port)], env=plain,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    kept = {name: os.environ.get(name) for name in (*ENVIRONMENT, "AWS_ENDPOINT_URL")}
    try:
        _make_bucket(f"{address}/{BUCKET}")
        os.environ.update(ENVIRONMENT, AWS_ENDPOINT_URL=address)
        yield f"s3://{BUCKET}"
    finally:
        for name, value in kept.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
        process.terminate()
        process.wait()


def _make_bucket(url: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=30).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def machine(monkeypatch, folder: Path) -> Path:
    """Stand on another machine: one that has fetched nothing yet."""
    monkeypatch.setenv("ITREC_CACHE", str(folder))
    return folder
