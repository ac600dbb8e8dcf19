"""What stands in `cluster/`, held against the schemas and linters that can be had offline."""

import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
TOOLS = Path(sys.executable).parent
KUBERNETES = "1.31"
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.startswith("#")
)

CLUSTER_SPEC = {
    "type": "object",
    "required": ["rayVersion", "headGroupSpec", "workerGroupSpecs"],
    "additionalProperties": False,
    "properties": {
        "rayVersion": {"type": "string"},
        "authOptions": {
            "properties": {"mode": {"enum": ["disabled", "token"]}},
            "additionalProperties": False,
        },
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": {
            "properties": {
                "idleTimeoutSeconds": {"type": "integer"},
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
            },
            "additionalProperties": False,
        },
        "headGroupSpec": {
            "required": ["rayStartParams", "template"],
            "properties": {
                "rayStartParams": {"additionalProperties": {"type": "string"}},
                "template": {"type": "object"},
            },
            "additionalProperties": False,
        },
        "workerGroupSpecs": {
            "items": {
                "required": [
                    "groupName", "minReplicas", "maxReplicas", "rayStartParams", "template",
                ],
                "properties": {
                    "groupName": {"type": "string"},
                    "replicas": {"type": "integer"},
                    "minReplicas": {"type": "integer"},
                    "maxReplicas": {"type": "integer"},
                    "rayStartParams": {"additionalProperties": {"type": "string"}},
                    "template": {"type": "object"},
                },
                "additionalProperties": False,
            }
        },
    },
}  # fmt: skip
"""The fields of KubeRay's RayCluster that we use; pods are held against Kubernetes' own schema."""

JOB_SPEC = {
    "type": "object",
    "required": ["entrypoint", "rayClusterSpec"],
    "properties": {
        "entrypoint": {"type": "string"},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "ttlSecondsAfterFinished": {"type": "integer", "minimum": 0},
        "activeDeadlineSeconds": {"type": "integer", "exclusiveMinimum": 0},
        "backoffLimit": {"type": "integer", "minimum": 0},
        "rayClusterSpec": CLUSTER_SPEC,
    },
    "additionalProperties": False,
}


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))


def cluster_spec(name: str) -> dict[str, Any]:
    manifest = load(name)
    return manifest["spec"].get("rayClusterSpec", manifest["spec"])


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


# AWS


def test_the_aws_cluster_is_valid_for_ray():
    config = load("aws.yaml")
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(config, schema)
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    # Ray's defaults would start other machines and install another Ray.
    assert set(prepared["available_node_types"]) == set(config["available_node_types"])
    assert prepared["setup_commands"] == config["setup_commands"]


def test_a_mistake_in_the_aws_cluster_would_be_seen():
    config = load("aws.yaml")
    config["max_worker"] = 4
    with pytest.raises(jsonschema.ValidationError):
        validate_config(prepare_config(config))
    config = load("aws.yaml")
    config["max_workers"] = 1
    with pytest.raises(ValueError, match="min_workers"):
        validate_config(prepare_config(config))


def test_the_aws_cluster_scales_trains_on_gpus_and_shares_its_storage():
    config = load("aws.yaml")
    types = config["available_node_types"]
    assert types["head"]["resources"]["CPU"] == 0
    spot = types["gpu_spot"]["node_config"]
    assert spot.pop("InstanceMarketOptions") == {"MarketType": "spot"}
    assert spot == types["gpu"]["node_config"]
    assert types["gpu"]["min_workers"] < types["gpu"]["max_workers"] <= config["max_workers"]
    assert {t["node_config"]["ImageId"] for t in types.values()} == {spot["ImageId"]}
    installs = [c for c in config["setup_commands"] if "pip install" in c]
    assert all("-c ~/itrec-dist/constraints.txt" in c for c in installs)
    assert any("itrec_dist-*.whl" in c for c in installs)
    assert any(":/ /shared" in c for c in config["setup_commands"])
    assert (ROOT / config["file_mounts"]["/home/ubuntu/itrec-dist/constraints.txt"]).is_file()


# KubeRay


@pytest.mark.parametrize(
    ("name", "kind", "schema"),
    [
        ("kuberay/raycluster.yaml", "RayCluster", CLUSTER_SPEC),
        ("kuberay/rayjob.yaml", "RayJob", JOB_SPEC),
    ],
)
def test_the_kuberay_manifests_have_the_fields_that_kuberay_knows(name, kind, schema):
    manifest = load(name)
    assert set(manifest) == {"apiVersion", "kind", "metadata", "spec"}
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,45}[a-z0-9])?", manifest["metadata"]["name"])
    jsonschema.validate(manifest["spec"], schema)
    assert cluster_spec(name)["rayVersion"] == PINS["ray"]


@pytest.mark.parametrize("name", ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml"])
def test_the_pods_are_valid_for_kubernetes(name):
    claim = load("kuberay/storage.yaml")
    kubernetes_validate.validate(claim, KUBERNETES, strict=True)
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    for group in groups(cluster_spec(name)):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **group["template"]}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"]}
        assert claims == {"shared": claim["metadata"]["name"]}
        (container,) = spec["containers"]
        assert {m["name"]: m["mountPath"] for m in container["volumeMounts"]} == {
            "shared": "/shared"
        }
        resources = container["resources"]
        assert resources["requests"] == resources["limits"]
        assert {"cpu", "memory"} <= resources["limits"].keys()


def test_a_mistake_in_a_pod_would_be_seen():
    template = copy.deepcopy(cluster_spec("kuberay/rayjob.yaml")["headGroupSpec"]["template"])
    template["spec"]["containers"][0]["volumeMount"] = []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, **template}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", ["kuberay/raycluster.yaml", "kuberay/rayjob.yaml"])
def test_ray_reads_one_gpu_per_worker_and_no_cpu_of_the_head(name):
    """Through the code by which Ray's autoscaler reads a RayCluster."""
    custom = {"metadata": {"name": "x", "namespace": "y"}, "spec": cluster_spec(name)}
    derived = autoscaling_config._derive_autoscaling_config_from_ray_cr(custom)
    head, gpu = (derived["available_node_types"][n] for n in ("headgroup", "gpu"))
    assert head["resources"]["CPU"] == 0
    assert "GPU" not in head["resources"]
    assert gpu["resources"]["GPU"] == 1
    assert gpu["min_workers"] == 2
    names = [g["template"]["spec"]["containers"][0]["name"] for g in groups(custom["spec"])]
    assert names == ["ray-head", "ray-worker"]
    images = [g["template"]["spec"]["containers"][0]["image"] for g in groups(custom["spec"])]
    assert images == ["REGISTRY/itrec-dist:cpu", "REGISTRY/itrec-dist:gpu"]


def test_the_job_runs_a_script_and_a_recipe_that_are_in_the_image():
    spec = load("kuberay/rayjob.yaml")["spec"]
    python, script, *arguments = spec["entrypoint"].split()
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert python == "python"
    for path in (script, given["--config"]):
        assert (ROOT / Path(path).relative_to("/opt/itrec-dist")).is_file()
    assert given["--shards"].startswith("/shared/")
    assert given["--out"].startswith("/shared/")
    (workers,) = spec["rayClusterSpec"]["workerGroupSpecs"]
    assert int(given["--cluster.num_workers"]) == workers["replicas"] == workers["minReplicas"]


# The image


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their arguments, continued lines joined."""
    text = (CLUSTER / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    return [(s[0], s[1].strip()) for line in joined.splitlines() if (s := line.split(" ", 1))[0]]


def test_the_dockerfile_passes_hadolint():
    run = [TOOLS / "hadolint", "--no-color", CLUSTER / "Dockerfile"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_image_copies_what_exists_and_docker_is_shown():
    shown = (CLUSTER / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    copied = [p for k, v in instructions() if k == "COPY" for p in v.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists(), path
        assert f"!{path}" in shown
    allowed = {line[1:] for line in shown if line.startswith("!")}
    assert allowed == set(copied)
    needed = yaml.safe_load("[itrec_dist, sql, jobs, constraints.txt, pyproject.toml]")
    assert set(needed) <= allowed


def test_the_image_is_pinned_small_and_not_root():
    steps = instructions()
    runs = [v for k, v in steps if k == "RUN"]
    installs = [c for r in runs for c in re.findall(r"pip install [^&;]*", r)]
    assert len(installs) == 3
    assert all("-c constraints.txt" in i or "--no-deps" in i for i in installs)
    assert not re.findall(r"==\d", " ".join(runs)), "versions stand in constraints.txt alone"
    assert any("/var/lib/apt/lists" in r for r in runs)
    assert [v for k, v in steps if k == "USER"] == ["1000:1000"]
    arguments = dict(v.split("=", 1) for k, v in steps if k == "ARG")
    release = {arguments["CPU_BASE"].split(":")[1], arguments["GPU_BASE"].rsplit("ubuntu", 1)[1]}
    assert release == {"24.04"}, "nodes of one cluster need the same Python"
    assert "-devel-" in arguments["GPU_BASE"], "DeepSpeed compiles with nvcc"
    froms = [v for k, v in steps if k == "FROM"]
    assert froms[-1].startswith("base-${VARIANT}")
    assert {f.split()[-1] for f in froms[:-1]} == {"base-cpu", "base-gpu"}


# The scripts


@pytest.mark.parametrize("script", ["local.sh", "slurm.sh"])
def test_the_scripts_pass_shellcheck(script):
    path = CLUSTER / script
    assert os.access(path, os.X_OK)
    run = [TOOLS / "shellcheck", "--color=never", path]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {}, "say what"),
        (["start", "none"], {}, "not 'none'"),
        (["start"], {"CPUS_PER_NODE": "0"}, "CPUS_PER_NODE is"),
        (["start"], {"PYTHON": "/nowhere/python"}, "/nowhere/python"),
        (["start"], {"ITREC_CLUSTER_DIR": "/tmp/" + "x" * 50}, "longer than"),
        (["stop"], {}, "nothing to stop"),
        (["status"], {}, "begin one with start"),
    ],
)
def test_the_practice_cluster_refuses_in_one_sentence(arguments, environment, said):
    settings = {**os.environ, "ITREC_CLUSTER_DIR": "/tmp/itrec-none", **environment}
    done = subprocess.run(
        [CLUSTER / "local.sh", *arguments], env=settings, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not Path("/tmp/itrec-none").exists()


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


def test_a_slurm_job_that_is_told_to_end_lets_the_run_end_first(allocation):
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
