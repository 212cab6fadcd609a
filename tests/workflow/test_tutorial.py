"""The tutorial of the docs runs from its first cell to its last, in a checkout."""

from pathlib import Path

import nbformat
from nbclient import NotebookClient

DOCS = Path(__file__).parents[2] / "docs"


def test_the_tutorial_runs_and_what_it_shows_is_what_it_showed(monkeypatch):
    monkeypatch.delenv("MPLBACKEND", raising=False)  # which tests of figures set, and which shows none
    book = nbformat.read(DOCS / "tutorial.ipynb", 4)
    shown = [_kinds(cell) for cell in book.cells]
    run = NotebookClient(book, timeout=600, resources={"metadata": {"path": str(DOCS)}}).execute()
    assert [_kinds(cell) for cell in run.cells] == shown
    verdicts = run.cells[-2].outputs[0].data["text/plain"]
    assert "mine  learns from reward" in verdicts


def _kinds(cell):
    """What a cell's outputs are, without progress, whose lines differ in number."""
    outputs = cell.get("outputs", [])
    return [o.output_type for o in outputs if o.output_type != "stream"] + [
        any(o.get("name") == "stdout" for o in outputs)
    ]
