"""Real servers of Postgres and MariaDB in a folder of a test, on this machine alone."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

USER, PASSWORD, DATABASE = "owner", "s3cret-word", "shop"


def _program(name: str) -> str | None:
    """A server's program, on the path or where Debian puts it."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(debian[-1]) if debian else shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _programs(*names: str) -> list[str]:
    found = [_program(name) for name in names]
    for name, path in zip(names, found, strict=True):
        if path is None:
            pytest.skip(f"{name} is not installed on this machine")
    return [str(path) for path in found]


@contextlib.contextmanager
def _folder() -> Iterator[tuple[Path, dict[str, object]]]:
    """A folder, and how to start a program there that refuses to run as root."""
    folder = Path(tempfile.mkdtemp(prefix="itrec-server-"))
    options: dict[str, object] = {"cwd": folder}
    if os.getuid() == 0:
        account = pwd.getpwnam("nobody")
        os.chown(folder, account.pw_uid, account.pw_gid)
        options |= {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
    try:
        yield folder, options
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def _running(
    command: list[str], port: int, options: dict[str, object], stop: signal.Signals
) -> Iterator[None]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **options, **quiet)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, f"{command[0]} ended at once"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, f"{command[0]} does not answer"
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(stop)
        process.wait()


@contextlib.contextmanager
def postgres() -> Iterator[dict[str, str]]:
    """An empty database `shop`; yields the environment in which libpq finds it."""
    initdb, program = _programs("initdb", "postgres")
    with _folder() as (folder, options):
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        subprocess.run(
            [
                initdb, "-D", "data", "-U", USER, "-A", "scram-sha-256", "--pwfile", "password",
                "-E", "UTF8", "--locale", "C", "--no-sync",
            ],
            **options, check=True, capture_output=True,
        )  # fmt: skip
        port = _free_port()
        command = [program, "-D", "data", "-p", str(port), "-k", str(folder)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        where = {
            "PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": USER, "PGPASSWORD": PASSWORD
        }  # fmt: skip
        with _running(command, port, options, signal.SIGINT):  # without waiting for clients
            _create_in_postgres(where)
            yield where


def _create_in_postgres(where: dict[str, str]) -> None:
    from adbc_driver_postgresql import dbapi

    address = "postgresql://{PGUSER}:{PGPASSWORD}@{PGHOST}:{PGPORT}/postgres".format(**where)
    deadline = time.monotonic() + 60
    while True:
        try:
            with dbapi.connect(address, autocommit=True) as server, server.cursor() as cursor:
                cursor.execute(f"create database {DATABASE}")
        except dbapi.OperationalError:  # it is still starting up
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            return


@contextlib.contextmanager
def mariadb() -> Iterator[dict[str, str]]:
    """An empty database `shop`; yields the environment with a home whose .my.cnf names it."""
    install, program = _programs("mariadb-install-db", "mariadbd")
    with _folder() as (folder, options):
        subprocess.run(
            [
                install, "--no-defaults", f"--datadir={folder}/data", "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            **options, check=True, capture_output=True,
        )  # fmt: skip
        port = _free_port()
        command = [program, "--no-defaults", f"--datadir={folder}/data", f"--port={port}"]
        command += ["--bind-address=127.0.0.1", f"--socket={folder}/socket"]
        (folder / "start.sql").write_text(
            f"create database {DATABASE} character set utf8mb4;\n"
            f"create user {USER}@localhost identified by '{PASSWORD}';\n"
            f"create user {USER}@'127.0.0.1' identified by '{PASSWORD}';\n"
            f"grant all on {DATABASE}.* to {USER}@localhost;\n"
            f"grant all on {DATABASE}.* to {USER}@'127.0.0.1';\n"
        )
        command += [f"--init-file={folder}/start.sql", "--character-set-server=utf8mb4"]
        (folder / ".my.cnf").write_text(f"[client]\nhost=127.0.0.1\nport={port}\n")
        (folder / "start.sql").chmod(0o644)
        with _running(command, port, options, signal.SIGTERM):
            yield {"HOME": str(folder), "MYSQL_USER": USER, "MYSQL_PWD": PASSWORD}
