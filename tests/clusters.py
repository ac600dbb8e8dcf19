"""A real Ray cluster of several nodes on this machine, in processes of its own.

Run as a program it starts the nodes and obeys lines on its standard input (`add`, `remove`, and
the end of the input); `NodesOnThisMachine` drives it. It stands apart from the tests' own process,
whose Ray has its own authentication and its own temporary folder.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
CPUS_PER_NODE = 3  # a worker of two CPUs, and one that reads
NODE = {"num_cpus": CPUS_PER_NODE, "object_store_memory": 150 * 2**20}


class NodesOnThisMachine:
    """Two nodes with three CPUs each; use it as a context."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="itrec-", dir="/tmp"))  # sockets: short paths
        without = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
        kept = {k: v for k, v in os.environ.items() if k not in without}
        path = os.pathsep.join(p for p in (str(ROOT), kept.get("PYTHONPATH")) if p)
        self.environment = kept | {
            "RAY_TMPDIR": str(self._folder), "RAY_AUTH_MODE": "disabled", "PYTHONPATH": path,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=self.environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.address = self._answer()["address"]

    def __enter__(self) -> "NodesOnThisMachine":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(60)
        finally:
            for process in self.processes():
                process.kill()
            shutil.rmtree(self._folder, ignore_errors=True)

    def add_node(self) -> None:
        """Start another node."""
        self._ask("add")

    def remove_node(self) -> None:
        """Take the newest node away, without a word to whatever runs there."""
        self._ask("remove")

    def processes(self) -> list[psutil.Process]:
        """All processes of this cluster, drivers included."""
        return [p for p in psutil.process_iter() if self._is_ours(p)]

    def workers(self) -> list[psutil.Process]:
        """The processes that train, and the one that controls them."""
        return [p for p in self.processes() if is_training(p)]

    def workers_of_training(self) -> list[psutil.Process]:
        """The processes that train."""
        return [p for p in self.workers() if "RayTrainWorker" in " ".join(p.cmdline())]

    def wait_until_idle(self, seconds: float = 30) -> None:
        """Wait until nothing trains any more."""
        deadline = time.monotonic() + seconds
        while found := self.workers():
            assert time.monotonic() < deadline, f"left behind: {[p.cmdline() for p in found]}"
            time.sleep(0.2)

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("RAY_TMPDIR") == str(self._folder)
        except psutil.Error:
            return False

    def _ask(self, what: str) -> None:
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self._answer()

    def _answer(self) -> dict:
        for line in self._process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError("the cluster did not start")


def is_training(process: psutil.Process) -> bool:
    """Whether a process is one of Ray Train's workers or its controller."""
    try:
        return any(n in " ".join(process.cmdline()) for n in ("RayTrainWorker", "TrainController"))
    except psutil.Error:
        return False


def main() -> None:
    """Keep a cluster of two nodes until the input ends."""
    from ray.cluster_utils import Cluster

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    nodes = [cluster.add_node(**NODE)]
    print(json.dumps({"address": cluster.address}), flush=True)
    for line in sys.stdin:
        if line.strip() == "add":
            nodes.append(cluster.add_node(**NODE))
        else:
            cluster.remove_node(nodes.pop(), allow_graceful=False)
        print("{}", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
