"""Outputs at a URI: whole or not at all, and nothing replaced that another made."""

import shutil
from pathlib import Path

import pytest

from itrec_dist.errors import ConfigError, EnvironmentProblem, OutputError
from itrec_dist.storage import outputs
from itrec_dist.storage.object_store import Store
from itrec_dist.storage.uri import Uri

FILES = {"a.txt": "1", "deep/b.txt": "22", "made.json": "{}", "z.txt": "333"}


def write(place, files=FILES, **options):
    with outputs.new_directory(place, marker="made.json", **options) as building:
        for name, text in files.items():
            (building / name).parent.mkdir(exist_ok=True)
            (building / name).write_text(text)


def there(place):
    store = Store(place)
    return {name: store.read(name).decode() for name in store.files()}


def left_here(tmp_path):
    return [path for path in (tmp_path / "machine").rglob("*") if path.is_file()]


def failing_at(patch, number):
    """Let the URI be out of reach from its n-th change on; counts the changes."""
    changes = []
    for name in ("upload", "remove", "write"):
        plain = getattr(Store, name)

        def changed(store, *given, plain=plain):
            changes.append(given)
            if len(changes) > number:
                raise EnvironmentProblem(f"{store.uri} cannot be reached: down")
            return plain(store, *given)

        patch.setattr(Store, name, changed)
    return changes


def test_a_folder_arrives_whole_and_is_replaced_only_if_it_may_be(place, tmp_path):
    write(place)
    assert there(place) == FILES
    with pytest.raises(OutputError, match=f"{place} already exists"):
        write(place)
    write(place, {"made.json": "[]", "new.txt": ""}, overwrite=True)
    assert there(place) == {"made.json": "[]", "new.txt": ""}
    assert left_here(tmp_path) == []


def test_what_another_made_is_never_replaced(place, tmp_path):
    Store(place).write("theirs.txt", b"x")
    with pytest.raises(OutputError, match=r"holds no made\.json, so it was not made by this"):
        write(place, overwrite=True)
    with pytest.raises(OutputError, match="is a file, a folder is needed"):
        write(place.below("theirs.txt"), overwrite=True)
    with pytest.raises(OutputError, match="is a folder, a file is needed"):
        outputs.refuse_existing(place, overwrite=True)
    assert there(place) == {"theirs.txt": "x"}


def test_an_error_of_the_block_leaves_nothing_anywhere(place, tmp_path):
    with pytest.raises(ZeroDivisionError), outputs.new_directory(place, marker="m") as building:
        (building / "m").write_text("x")
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), outputs.new_file(place) as building:
        building.write_text("x")
        raise ZeroDivisionError
    assert there(place) == {}
    assert left_here(tmp_path) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_outage_at_any_moment_leaves_no_marker_or_all(overwrite, tmp_path, monkeypatch):
    """Change after change is the last one; the output stays on this machine meanwhile."""
    monkeypatch.setenv("ITREC_CACHE", str(tmp_path / "machine"))
    for number in range(100):
        place = Uri(f"file://{tmp_path}/{number}/x")
        if overwrite:
            write(place, {"made.json": "old", "old.txt": "old"})
        with monkeypatch.context() as patch:
            changes = failing_at(patch, number)
            try:
                write(place, overwrite=overwrite)
            except OutputError as error:
                kept = Path(str(error).partition("output is in ")[2].partition(" on this")[0])
                assert {p.relative_to(kept).as_posix(): p.read_text()
                        for p in kept.rglob("*") if p.is_file()} == FILES  # fmt: skip
                shutil.rmtree(kept)
            else:
                break
        found = {name: text for name, text in there(place).items() if name != outputs.UNFINISHED}
        whole = [FILES, {"made.json": "old", "old.txt": "old"}]
        assert found in whole or "made.json" not in found
        if there(place):
            with pytest.raises(OutputError, match=r"already exists|left unfinished"):
                write(place)
        write(place, overwrite=True)
        assert there(place) == FILES
    assert number == len(changes) > len(FILES)
    assert there(place) == FILES


def test_an_outage_while_files_are_sent_is_cleaned_up_if_the_place_answers_again(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("ITREC_CACHE", str(tmp_path / "machine"))
    place, plain = Uri(f"file://{tmp_path}/store/x"), Store.upload

    def upload(store, path, name):
        if name == "z.txt":
            raise EnvironmentProblem(f"{store.uri} cannot be reached: down")
        plain(store, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "upload", upload)
        with pytest.raises(OutputError, match="cannot be reached: down; the whole output is in"):
            write(place)
    assert there(place) == {}
    write(place)
    assert there(place) == FILES


def test_a_file_arrives_and_is_found(place, tmp_path):
    page = place.below("page.html")
    outputs.refuse_existing(page, overwrite=False)
    with outputs.new_file(page) as building:
        building.write_text("hello")
    assert there(place) == {"page.html": "hello"}
    assert outputs.beginning(page, 4) == b"hell"
    assert outputs.beginning(place.below("none"), 4) is None
    assert outputs.size(page) == len("hello")
    with pytest.raises(OutputError, match="already exists"):
        outputs.refuse_existing(page, overwrite=False)
    outputs.refuse_existing(page, overwrite=True)
    assert left_here(tmp_path) == []


def test_a_credential_is_refused_before_anything_and_never_shown(tmp_path):
    secret = Uri("s3://KEY:SECRET@bucket/x")
    for act in (
        lambda: write(secret),
        lambda: outputs.refuse_existing(secret, overwrite=True),
        lambda: outputs.refuse_taken(secret, marker="m", overwrite=True),
    ):
        with pytest.raises(ConfigError, match="carries a credential") as refusal:
            act()
        assert "SECRET" not in str(refusal.value)
