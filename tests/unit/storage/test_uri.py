"""URIs in configurations: written down as they were given, and never with a credential."""

from pathlib import Path

import pytest
import yaml

from itrec_dist import config
from itrec_dist.config import load
from itrec_dist.storage.uri import Uri
from itrec_dist.system import environment
from itrec_dist.training.config import RunConfig
from tests.stopped_runs import make_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("uris") / "shards")


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/runs/x", "s3://b/a?region=eu-west-1&endpoint_override=h:1", "file:///tmp/x y",
        "gs://anonymous@bucket/x", "abfs://container@account.dfs.core.windows.net/x",
    ],
)  # fmt: skip
def test_a_uri_comes_back_from_a_configuration_as_it_was(text, data, tmp_path):
    run = load(RunConfig, None, [f"shards={data}", f"out={text}"])
    assert run.out == Uri(text)
    assert isinstance(run.out, Uri)
    (tmp_path / "config.yaml").write_text(config.to_yaml(run))
    assert yaml.safe_load(config.to_yaml(run))["out"] == text
    assert load(RunConfig, tmp_path / "config.yaml") == run
    assert isinstance(load(RunConfig, None, [f"shards={data}", "out=runs/x"]).out, Path)


@pytest.mark.parametrize(
    "text",
    [
        "s3://KEY:SECRET@bucket/x", "s3://SECRET@bucket/x", "s3://bucket/x?secret_key=SECRET",
        "s3://bucket/x?region=a&session_token=SECRET&scheme=http", "gs://SECRET@bucket/x",
        "abfs://:SECRET@account.dfs.core.windows.net/x", "abfs://c@a.net/x?sig=SECRET",
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["out", "shards"])
def test_a_credential_in_a_uri_is_refused_and_never_shown(
    name, text, data, tmp_path, itrec, monkeypatch
):
    given = {"out": str(tmp_path / "run"), "shards": str(data)} | {name: text}
    arguments = [part for key, value in given.items() for part in (f"--{key}", value)]
    code, out, err = itrec("train", "--local", *arguments)
    assert code == 2
    assert "carries a credential" in err
    assert err.count("\n") == 1
    assert "SECRET" not in out + err
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr("sys.argv", ["itrec", "train", f"--out={text}", "--x", "a@b:c"])
    recorded = environment.record(0)["command"]
    assert "SECRET" not in " ".join(recorded)
    assert recorded[-1] == "a@b:c"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("input", ("reproduce", "ite", "--out", "study")),
        ("item_vectors", ("train", "--local", "--shards", "SHARDS", "--out", "run")),
    ],
)
def test_a_uri_where_a_path_is_needed_makes_no_folder(
    name, command, data, tmp_path, monkeypatch, itrec
):
    monkeypatch.chdir(tmp_path)
    given = [data if one == "SHARDS" else one for one in command]
    code, _, err = itrec(*given, f"--{name}", "s3://bucket/x?secret_key=SECRET")
    assert (code, err.count("\n")) == (2, 1)
    assert f"{name} must be a path on this machine, not 's3://bucket/x?secret_key=***'" in err
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_not_sent_where_its_format_is_not_read(tmp_path, monkeypatch, itrec):
    monkeypatch.chdir(tmp_path)
    code, _, err = itrec("data", "get", "ml-1m", "--to", "s3://bucket/x?secret_key=SECRET")
    assert (code, err.count("\n")) == (2, 1)
    assert "to=s3://bucket/x?secret_key=*** is a URI, and the formats of MovieLens are" in err
    assert list(tmp_path.iterdir()) == []


def test_a_uri_of_no_file_system_gives_one_sentence(data, tmp_path, itrec):
    code, _, err = itrec("train", "--local", "--shards", data, "--out", "nowhere://x/y")
    assert code == 2
    assert "names no file system" in err
    assert err.count("\n") == 1
