import dataclasses
import hashlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

import itrec_dist
from itrec_dist.cli import app
from itrec_dist.data.sources import SOURCES, download
from itrec_dist.errors import ConfigError, DataError, EnvironmentProblem, ItrecError, OutputError

RATINGS = os.urandom(300_000)  # does not compress, so a cut falls inside the archive


def zipped(members: dict[str, bytes], links: tuple[str, ...] = ()) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name)
            if name in links:
                member.external_attr = 0o120777 << 16
            archive.writestr(member, content)
    return packed.getvalue()


GOOD = zipped(
    {
        "ml-1m/": b"",
        "ml-1m/README": b"terms",
        "ml-1m/ratings.dat": RATINGS,
        "ml-1m/deep/er/file.txt": b"deep",
        "__MACOSX/ml-1m/._ratings.dat": b"litter",
    }
)


class LocalServer(ThreadingHTTPServer):
    """Serves `files`; cuts the first `cuts` answers in half, answers `faults` statuses first."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: list[int] = []
        self.cuts = 0
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []

    @property
    def server(self) -> download.Server:
        return download.Server(url=f"http://127.0.0.1:{self.server_port}/data/", waits=(0.0, 0.0))


class Handler(BaseHTTPRequestHandler):
    server: LocalServer

    def do_GET(self) -> None:
        served = self.server
        name, asked = self.path.removeprefix("/data/"), self.headers["Range"]
        served.asked.append((name, asked))
        status = served.faults.pop(0) if served.faults else 200
        if status != 200 or name not in served.files:
            self.send_error(404 if status == 200 else status)
            return
        content = served.files[name]
        if asked and served.ranges:
            status = 206
            content = content[int(asked.removeprefix("bytes=").removesuffix("-")) :]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if served.cuts:
            served.cuts -= 1
            content = content[: len(content) // 2]
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    served = LocalServer()
    thread = threading.Thread(target=served.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def serve(local: LocalServer, monkeypatch: pytest.MonkeyPatch, archive: bytes) -> None:
    """Serve `archive` as ml-1m.zip, and pin its checksum instead of the real one."""
    local.files["ml-1m.zip"] = archive
    pinned = dataclasses.replace(download.RELEASES["ml-1m"], md5=hashlib.md5(archive).hexdigest())
    monkeypatch.setitem(download.RELEASES, "ml-1m", pinned)


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def refusal(expected: type[ItrecError], to: Path, local: LocalServer, name: str = "ml-1m") -> str:
    """Fetch, which must fail as `expected` with nothing left behind; return the sentence."""
    with pytest.raises(expected) as refused:
        download.fetch(name, to, server=local.server)
    assert not to.exists()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_release_is_unpacked_whole(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(local, monkeypatch, GOOD)
    seen: list[tuple[int, int | None]] = []
    place = download.fetch(
        "ml-1m",
        tmp_path / "new" / "data",
        server=local.server,
        progress=lambda received, expected: seen.append((received, expected)),
    )
    assert place == tmp_path / "new" / "data" / "ml-1m"
    files = {str(p.relative_to(place)): p.read_bytes() for p in place.rglob("*") if p.is_file()}
    assert files == {"README": b"terms", "ratings.dat": RATINGS, "deep/er/file.txt": b"deep"}
    assert names(place.parent) == ["ml-1m"]
    assert seen[0] == (0, len(GOOD))
    assert seen[-1] == (len(GOOD), len(GOOD))
    assert seen == sorted(seen)
    assert local.asked == [("ml-1m.zip", None)]  # a pinned checksum is not asked for


def test_a_wrong_checksum_is_refused(tmp_path: Path, local: LocalServer) -> None:
    local.files["ml-1m.zip"] = GOOD  # not what the table pins
    sentence = refusal(DataError, tmp_path / "to", local)
    assert hashlib.md5(GOOD).hexdigest() in sentence
    assert "c4d9eecfca2ab87c1945afe126590906" in sentence


@pytest.mark.parametrize("layout", ["MD5 (ml-latest-small.zip) = {}\n", "{}  ml-latest-small.zip"])
def test_an_unpinned_release_is_compared_with_the_published_checksum(
    tmp_path: Path, local: LocalServer, layout: str
) -> None:
    archive = zipped({"ml-latest-small/ratings.csv": b"userId,movieId,rating,timestamp\n"})
    local.files["ml-latest-small.zip"] = archive
    published = layout.format(hashlib.md5(archive).hexdigest().upper()).encode()
    local.files["ml-latest-small.zip.md5"] = published
    place = download.fetch("ml-latest-small", tmp_path, server=local.server)
    assert (place / "ratings.csv").is_file()

    local.files["ml-latest-small.zip"] = archive + b"\0"
    assert "was expected" in refusal(DataError, tmp_path / "to", local, "ml-latest-small")
    local.files["ml-latest-small.zip.md5"] = b"<html>moved</html>"
    assert "no MD5 checksum" in refusal(DataError, tmp_path / "to", local, "ml-latest-small")
    del local.files["ml-latest-small.zip.md5"]
    assert "404" in refusal(EnvironmentProblem, tmp_path / "to", local, "ml-latest-small")


@pytest.mark.parametrize("ranges", [True, False])
def test_a_truncated_download_is_resumed_or_restarted(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch, ranges: bool
) -> None:
    serve(local, monkeypatch, GOOD)
    local.cuts, local.ranges = 1, ranges
    place = download.fetch("ml-1m", tmp_path, server=local.server)
    assert (place / "ratings.dat").read_bytes() == RATINGS
    assert local.asked == [("ml-1m.zip", None), ("ml-1m.zip", f"bytes={len(GOOD) // 2}-")]


def test_a_download_that_is_always_truncated_is_given_up(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(local, monkeypatch, GOOD)
    local.cuts = 99
    sentence = refusal(EnvironmentProblem, tmp_path / "to", local)
    assert "connection ended after" in sentence
    assert "(3 tries)" in sentence


def test_transient_errors_are_retried_and_permanent_ones_are_not(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(local, monkeypatch, GOOD)
    local.faults = [404]
    assert "404" in refusal(EnvironmentProblem, tmp_path / "to", local)
    assert len(local.asked) == 1
    local.faults = [503, 503, 503]
    assert "503" in refusal(EnvironmentProblem, tmp_path / "to", local)
    local.faults = [503, 429]
    assert download.fetch("ml-1m", tmp_path, server=local.server).is_dir()


def test_an_unreachable_server_gives_one_sentence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound and not listening: connections are refused
        taken.bind(("127.0.0.1", 0))
        server = download.Server(f"http://127.0.0.1:{taken.getsockname()[1]}", waits=(0.0,))
        with pytest.raises(EnvironmentProblem, match=r"connection refused \(2 tries\)"):
            download.fetch("ml-1m", tmp_path / "to", server=server)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize(
    ("member", "links"),
    [
        ("ml-1m/../../escaped.txt", ()),
        ("../escaped.txt", ()),
        ("/escaped.txt", ()),
        ("ml-1m/..\\escaped.txt", ()),
        ("C:/escaped.txt", ()),
        ("ml-1m/link", ("ml-1m/link",)),
    ],
)
def test_an_archive_with_members_that_point_elsewhere_is_refused(
    tmp_path: Path,
    local: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    member: str,
    links: tuple[str, ...],
) -> None:
    serve(local, monkeypatch, zipped({"ml-1m/ratings.dat": b"x", member: b"/etc"}, links))
    sentence = refusal(DataError, tmp_path / "a" / "b" / "to", local)
    assert repr(member) in sentence
    assert not list(tmp_path.rglob("*escaped*"))


@pytest.mark.parametrize(
    ("archive", "named"),
    [
        (b"this is no zip", "cannot be unpacked"),
        (GOOD.replace(RATINGS[1000:1010], b"0123456789"), "cannot be unpacked"),
        (zipped({"ml-1m/README": b"no ratings"}), "holds no ml-1m/ratings.dat"),
        (zipped({"other/ratings.dat": b"x"}), "holds no ml-1m/ratings.dat"),
    ],
)
def test_a_damaged_or_other_archive_is_refused(
    tmp_path: Path,
    local: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    archive: bytes,
    named: str,
) -> None:
    serve(local, monkeypatch, archive)
    assert named in refusal(DataError, tmp_path / "to", local)


def test_an_existing_output_is_refused_before_any_request(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(local, monkeypatch, GOOD)
    earlier = tmp_path / "ml-1m" / "ratings.dat"
    earlier.parent.mkdir()
    earlier.write_text("mine")
    with pytest.raises(OutputError, match="already exists"):
        download.fetch("ml-1m", tmp_path, server=local.server)
    assert local.asked == []
    local.cuts = 99  # a failed replacement keeps the earlier copy
    with pytest.raises(EnvironmentProblem):
        download.fetch("ml-1m", tmp_path, server=local.server, overwrite=True)
    assert earlier.read_text() == "mine"
    local.cuts = 0
    download.fetch("ml-1m", tmp_path, server=local.server, overwrite=True)
    assert earlier.read_bytes() == RATINGS
    assert names(tmp_path) == ["ml-1m"]


def test_an_interruption_leaves_nothing(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(local, monkeypatch, GOOD)

    def interrupt(received: int, expected: int | None) -> None:
        if received:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch("ml-1m", tmp_path / "to", server=local.server, progress=interrupt)
    assert names(tmp_path) == []


def test_ctrl_c_of_the_command_leaves_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "ITREC_MOVIELENS_URL": address, "no_proxy": "127.0.0.1"}
        command = [sys.executable, "-m", "itrec_dist", "data", "get", "ml-1m", "--to"]
        process = subprocess.Popen(
            [*command, str(tmp_path / "to")], env=environment, stderr=subprocess.PIPE, text=True
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            connection.recv(1000)  # the request: the command waits for the answer
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "itrec: interrupted\n"
    assert names(tmp_path) == []


def test_command(
    tmp_path: Path,
    local: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    serve(local, monkeypatch, GOOD)
    monkeypatch.setenv("ITREC_MOVIELENS_URL", local.server.url)
    assert app.main(["data", "get", "ml-1m", "--to", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert f"itrec window --source ml-1m --input {tmp_path}/ml-1m --out SHARDS" in out
    assert "not to be redistributed" in out.replace("\n", " ")
    assert err.splitlines()[-1] == "ml-1m.zip: 0.3 of 0.3 MB"
    assert app.main(["data", "get", "ml-1m", "--to", str(tmp_path)]) == 2
    assert "already exists" in capsys.readouterr().err
    assert app.main(["data", "get", "ml-2m", "--to", str(tmp_path)]) == 2
    assert "there are: ml-1m, ml-100k" in capsys.readouterr().err
    monkeypatch.setenv("ITREC_MOVIELENS_URL", "ftp://127.0.0.1")
    assert app.main(["data", "get", "ml-10m", "--to", str(tmp_path)]) == 2
    assert "http://" in capsys.readouterr().err


def test_the_library_downloads_what_can_be_split(
    tmp_path: Path, local: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = "".join(f"{u}::{i}::5::{100 * u + i}\n" for u in range(1, 5) for i in range(1, 9))
    files = {
        "ratings.dat": lines,
        "users.dat": "1::F::1::10::0\n",
        "movies.dat": "1::A (1990)::Drama\n",
    }
    packed = zipped({f"ml-1m/{name}": text.encode() for name, text in files.items()})
    serve(local, monkeypatch, packed)
    monkeypatch.setenv("ITREC_MOVIELENS_URL", local.server.url)
    events = itrec_dist.download("ml-1m", tmp_path)
    assert events.source == "ml-1m"
    assert events.inputs == (tmp_path / "ml-1m",)
    assert (tmp_path / "ml-1m" / "ratings.dat").read_text() == lines
    with pytest.raises(OutputError, match="already exists"):
        itrec_dist.download("ml-1m", tmp_path)
    with pytest.raises(ConfigError, match="there are: ml-1m"):
        itrec_dist.download("ml-2m", tmp_path)


def test_every_source_names_a_format_and_only_the_changing_one_is_unpinned() -> None:
    for name, source in download.RELEASES.items():
        assert source.name == name
        assert source.format in SOURCES
        assert source.md5 is None or len(bytes.fromhex(source.md5)) == 16
    assert [s.name for s in download.RELEASES.values() if s.md5 is None] == ["ml-latest-small"]
    with pytest.raises(ConfigError, match="there is no data set 'ml-1b'"):
        download.release("ml-1b")
