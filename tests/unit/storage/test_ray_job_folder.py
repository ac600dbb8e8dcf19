"""What lies in the copy of the checkout that Ray makes for a job, and is lost with it."""

from pathlib import Path

import pytest

from itrec_dist.errors import ConfigError
from itrec_dist.storage import atomic, ray_job_folder


@pytest.fixture
def copy(tmp_path, monkeypatch) -> Path:
    """Such a copy, as the working directory."""
    folder = tmp_path / "session" / "runtime_resources" / "working_dir_files" / "_ray_pkg_0a1b"
    (folder / "jobs").mkdir(parents=True)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize("given", ["runs/a", "{copy}/runs/a"])
def test_a_path_in_the_copy_is_refused_and_a_lasting_one_suggested(given, copy, monkeypatch):
    path = Path(given.format(copy=copy))
    for here in (copy, copy / "jobs"):
        monkeypatch.chdir(here)
        with pytest.raises(ConfigError) as told:
            ray_job_folder.refuse_path(path, "--out")
        assert str(told.value).startswith("--out runs/a lies in the copy of the checkout")
        assert "such as /shared/runs/a" in str(told.value)


@pytest.mark.parametrize("given", ["{tmp}/runs/a", "/shared/runs/a", "{copy}-beside/a"])
def test_a_place_elsewhere_is_taken(given, copy, tmp_path):
    ray_job_folder.refuse_path(Path(given.format(copy=copy, tmp=tmp_path)), "--out")


@pytest.mark.parametrize("folder", ["_ray_pkg_0a1b", "working_dir_files/checkout"])
def test_a_checkout_with_a_similar_name_is_not_a_job_folder(folder, tmp_path, monkeypatch):
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    ray_job_folder.refuse_path(Path("runs/a"))


def test_nothing_is_written_there(copy):
    with pytest.raises(ConfigError, match=r"runs/a\.json lies in"):
        atomic.write_json(Path("runs/a.json"), {})
    with (
        pytest.raises(ConfigError, match="shards lies in"),
        atomic.new_directory(Path("shards"), marker="manifest.json"),
    ):
        pass
    assert [p.name for p in copy.iterdir()] == ["jobs"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--out", "runs/a", "--shards", "/shared/shards"], "--out runs/a lies"),
        (["--out", "/shared/a", "--shards", "shards"], "--shards shards lies"),
    ],
)
def test_a_job_that_would_lose_its_run_is_refused_before_it_looks_at_data(more, told, copy, itrec):
    code, shown, err = itrec("train", *more)
    assert (code, shown) == (2, "")
    assert told in err
    assert err.count("\n") == 1
