"""What stands in `cluster/`, held against the schemas and linters that can be had offline."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import ray.autoscaler
import yaml
from ray.autoscaler._private.kuberay import autoscaling_config
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[3]
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
    assert "-base-" in arguments["GPU_BASE"], "torch brings CUDA's libraries, nothing needs nvcc"
    packages = next(r for r in runs if "apt-get install" in r).split()
    assert {"g++", "python3-dev"} <= set(packages), "torch.compile builds what it generates"
    assert f"target={arguments['PIP_CACHE_DIR']}" in " ".join(runs)
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
