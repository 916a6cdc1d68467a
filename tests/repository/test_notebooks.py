"""The notebooks in docs/notebooks: every cell runs, in order, with fewer steps; they are kept without outputs.

Cells run in this process, as in a kernel's one namespace: lines that begin with `!sg-hub` are commands.
"""

import json
import os
import shlex

import matplotlib
import matplotlib.pyplot as plt
import pytest

from sg_hub.cli import main
from tests.repository.documents import FEWER
from tests.support.folders import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
SMALL = (
    "model.width=4",
    "prepare.spacing=[12,12,9]",
    "pretrain.size=[16,16,8]",
    "pretrain.epochs=1",
    "pretrain.samples_per_epoch=16",
    "pretrain.batch_size=8",
    "prepare.workers=1",
)
OVERRIDES = FEWER | dict.fromkeys(("prepare", "pretrain", "evaluate"), SMALL)


def cells(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len({*ids}) == len(ids)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_cell_of_a_notebook_runs(path, tmp_path, monkeypatch):
    matplotlib.use("Agg")
    monkeypatch.chdir(ROOT)  # to which we come back
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {"__name__": "notebook"}
    for cell in cells(path):
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and text.startswith("!"):
            for line in text.splitlines():
                program, command, *arguments = shlex.split(line.removeprefix("!"))
                assert program == "sg-hub"
                assert main([command, *arguments, *OVERRIDES.get(command, ()), "--quiet"]) == 0, line
        elif cell["cell_type"] == "code":
            exec(compile(text, path.name, "exec"), names)
    plt.close("all")
    assert tmp_path in type(tmp_path)(os.getcwd()).parents  # nothing was written elsewhere
    if path.stem == "segment":
        assert names["places"].shape == (1, 3)
        assert {*names["millilitres"]} == {"spinal cord", "mandible"}
        assert names["found"].shape == names["new"].size
    else:
        assert names["measured"]
        assert names["pictures"]
        assert names["model"].head_name == "segmentation"
