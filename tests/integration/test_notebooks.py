"""The notebooks in `docs/notebooks/`: each runs from start to end, and shows what it printed."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "docs" / "notebooks"

CLAIMS = {
    "first-recommender": """
        assert set(test) == {"popularity", "item_knn", "linear_history", "sasrec"}
        assert test["sasrec"] > test["linear_history"] > test["popularity"]
        assert len(top) == 5 * data.num_users and "SASRec" in open("report.html").read()
    """,
    "own-data": """
        assert run.metrics["test"][figure] > found["popularity"]
        served = run.recommend(tonight, k=3, without=["sku-10", "sku-11"])
        assert set(served["user"]) == {"new", "c7"} and type(served) is pd.DataFrame
        assert not {"sku-10", "sku-11", "sku-8"} & set(served[served["user"] == "new"]["item"])
    """,
    "search": """
        assert list(trials["status"]) == ["complete"] * 4 and set(best.settings) == set(space)
        assert best.run.config.model.width == best.settings["model.width"] and 0 < best.test < 1
    """,
}  # fmt: skip
"""Notebook -> what must hold of its names once it has run."""


def code_of(name: str) -> list[str]:
    nbformat = pytest.importorskip("nbformat")
    cells = nbformat.read(NOTEBOOKS / f"{name}.ipynb", nbformat.NO_CONVERT).cells
    return [cell.source for cell in cells if cell.cell_type == "code"]


def test_every_notebook_is_run_and_stands_in_the_navigation():
    names = {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert names == set(CLAIMS) == set(re.findall(r"notebooks/([\w-]+)\.md", nav))


@pytest.mark.parametrize("name", CLAIMS)
def test_a_notebook_keeps_small_outputs_of_text_and_no_path_of_a_machine(name):
    text = (NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 30_000
    for sign in ("text/html", "image/", '"stderr"', "/tmp", "/home", "\\u001b", "Traceback"):
        assert sign not in text, sign


@pytest.mark.slow
@pytest.mark.parametrize("name", CLAIMS)
def test_a_notebook_runs_from_start_to_end(name, tmp_path, monkeypatch, request):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("ITREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    place = NOTEBOOKS / f"{name}.ipynb"
    notebook = nbformat.read(place, nbformat.NO_CONVERT)
    claims = nbformat.v4.new_code_cell(re.sub(r"^ +", "", CLAIMS[name], flags=re.MULTILINE))
    shown = len(notebook.cells)
    notebook.cells.append(claims)
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    made = notebook.cells[:shown]
    printed = [output for cell in made for output in cell.get("outputs", ())]
    assert len(printed) >= 5, "nothing is shown"
    if request.config.getoption("--regenerate-golden"):
        store(notebook, made, place)


def store(notebook: Any, cells: list[Any], place: Path) -> None:
    """Keep what the cells printed, as text; not what was said of the machine beside it."""
    import nbformat

    for cell in cells:
        cell.metadata = {}
        if cell.cell_type != "code":
            continue
        kept = [o for o in cell.outputs if o.get("name") != "stderr"]
        for output in kept:
            if "data" in output:
                output["data"] = {"text/plain": output["data"]["text/plain"]}
        cell.outputs = kept
    notebook.cells = cells
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    nbformat.write(notebook, place)
