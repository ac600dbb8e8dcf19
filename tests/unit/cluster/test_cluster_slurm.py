"""`cluster/slurm.sh` whole, against stand-ins for `srun`, `ray start` and the interpreter."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

CLUSTER = Path(__file__).parents[3] / "cluster"

PYTHON_STUB = """#!/bin/bash
# Stands for the interpreter: notes what it is asked, and trains as TRAINING says.
case $1 in
    -c) echo 0123abcd ;;
    cluster/wait_for_nodes.py)
        until grep -q "ray on n2,n3" "$NOTES"; do sleep 0.05; done
        echo "wait ${*:2}" >>"$NOTES" ;;
    jobs/train.py)
        echo "train ${*:2} token=$RAY_AUTH_TOKEN" >>"$NOTES"
        [[ $TRAINING == long ]] || exit "$TRAINING"
        trap 'echo terminated >>"$NOTES"; exit 143' TERM
        echo training >>"$NOTES"
        while :; do sleep 0.05; done ;;
esac
"""
SRUN_STUB = """#!/bin/bash
# Stands for srun: runs the command here, once, and passes SIGTERM on as srun does.
hosts=$SLURM_JOB_NODELIST
while [[ $1 == --* ]]; do
    [[ $1 == --nodelist=* ]] && hosts=${1#--nodelist=}
    shift
done
[[ $1 == hostname ]] && { echo "127.0.0.1 10.0.0.9"; exit; }
HOSTS=$hosts exec "$@"
"""
RAY_STUB = """#!/usr/bin/env python3
# Stands for `ray start --block`: a listening head, until SIGTERM.
import os, re, signal, socket, sys
notes, line = os.environ["NOTES"], " ".join(sys.argv[1:])
def note(text):
    with open(notes, "a") as file:
        file.write(text + "\\n")
def end(*_):
    note("ended " + os.environ["HOSTS"])
    os._exit(0)
signal.signal(signal.SIGTERM, end)
if "--head" in line:
    head = socket.create_server(("127.0.0.1", int(re.search(r"--port=(\\d+)", line)[1])))
note("ray on " + os.environ["HOSTS"] + ": " + line)
while True:
    signal.pause()
"""


@pytest.fixture
def allocation(tmp_path):
    """A checkout and an environment as Slurm's, with stubs for what a test machine lacks."""
    stubs = {
        ".venv/bin/python": PYTHON_STUB,
        ".venv/bin/ray": RAY_STUB,
        "bin/srun": SRUN_STUB,
        "bin/scontrol": "#!/bin/bash\ntr , '\\n' <<<\"$3\"\n",
        "jobs/train.py": "",
    }
    for name, text in stubs.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "SLURM_JOB_ID": str(5_000_000 + os.getpid() % 5000),
        "SLURM_JOB_NODELIST": "n1,n2,n3",
        "SLURM_CPUS_PER_TASK": "6",
        "NOTES": str(tmp_path / "notes"),
    }


@pytest.mark.parametrize("code", [0, 3])
def test_a_slurm_job_starts_ray_trains_and_takes_ray_down(allocation, code):
    job, notes = int(allocation["SLURM_JOB_ID"]), Path(allocation["NOTES"])
    port = 20000 + job % 10000
    done = subprocess.run(
        [CLUSTER / "slurm.sh", "--config", "a b.yaml"],
        env={**allocation, "TRAINING": str(code)}, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    lines = notes.read_text().splitlines()
    assert lines[0].startswith("ray on n1: start --block")
    assert f"--head --node-ip-address=127.0.0.1 --port={port}" in lines[0]
    assert "--num-cpus=6" in lines[0]
    worker = next(line for line in lines if line.startswith("ray on n2,n3: start --block"))
    assert f"--address=127.0.0.1:{port}" in worker
    assert f"wait 127.0.0.1:{port} 3 300" in lines
    assert f"train --address 127.0.0.1:{port} --config a b.yaml token=0123abcd" in lines
    assert {line for line in lines if line.startswith("ended")} == {"ended n1", "ended n2,n3"}
    assert not Path(f"/tmp/itrec-{job}").exists()


def test_a_slurm_job_that_gets_a_signal_lets_the_run_end_first(allocation):
    notes = Path(allocation["NOTES"])
    script = subprocess.Popen([CLUSTER / "slurm.sh"], env={**allocation, "TRAINING": "long"})
    deadline = time.monotonic() + 60
    while not notes.exists() or "training" not in notes.read_text().splitlines():
        assert time.monotonic() < deadline
        assert script.poll() is None
        time.sleep(0.05)
    script.send_signal(signal.SIGTERM)
    assert script.wait(timeout=60) == 143
    lines = notes.read_text().splitlines()
    assert lines.index("terminated") < min(i for i, s in enumerate(lines) if s.startswith("ended"))
    assert {line for line in lines if line.startswith("ended")} == {"ended n1", "ended n2,n3"}


def test_slurm_refuses_without_an_allocation_or_a_checkout(allocation, tmp_path):
    bare = {"PATH": os.environ["PATH"]}
    elsewhere = {**allocation, "SLURM_SUBMIT_DIR": str(tmp_path / "bin")}
    for environment, said in ((bare, "through sbatch"), (elsewhere, "no jobs/train.py")):
        done = subprocess.run(
            [CLUSTER / "slurm.sh"], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert said in done.stderr


def test_slurm_asks_for_a_warning_before_the_end():
    lines = (CLUSTER / "slurm.sh").read_text(encoding="utf-8").splitlines()
    settings = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH ")]
    assert "--signal=B:TERM@180" in settings
    last = max(i for i, line in enumerate(lines) if line.startswith("#SBATCH"))
    # sbatch stops reading its options at the first command
    assert all(line.startswith("#") for line in lines[:last])
