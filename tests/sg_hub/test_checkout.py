"""In a checkout `sg_hub.training` is `training`: the same modules, whichever is imported first."""

import importlib
import subprocess
import sys

import pytest

import training.run.recipe
from tests.support.folders import ROOT

SAME = """
import sys
first, second = sys.argv[1:]
import importlib
one, other = importlib.import_module(first), importlib.import_module(second)
assert one is other
assert one.__name__ == one.__spec__.name == "training.methods.registry"
assert one.__package__ == one.__spec__.parent == "training.methods"
from sg_hub.training.methods.protocol import Method
assert Method is one.Method
assert sys.modules["sg_hub.training.methods"] is sys.modules["training.methods"]
"""


def test_a_class_exists_once():
    recipe = importlib.import_module("sg_hub.training.run.recipe")
    assert recipe is training.run.recipe
    assert recipe.Recipe is training.run.recipe.Recipe


@pytest.mark.parametrize("names", [("sg_hub.training", "training"), ("training", "sg_hub.training")])
def test_the_order_of_imports_does_not_matter(names):
    import_both = [sys.executable, "-c", SAME, *(f"{name}.methods.registry" for name in names)]
    subprocess.run(import_both, cwd=ROOT, check=True)


def test_what_is_not_there_is_an_error_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"sg_hub\.training\.nothing"):
        importlib.import_module("sg_hub.training.nothing")


def test_a_module_of_the_users_is_not_taken_for_it(tmp_path):
    """The commands for scans are there all the same."""
    (tmp_path / "training.py").write_text("raise RuntimeError", encoding="utf-8")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; from sg_hub.cli import main; main(['models'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "semantic-genesis-3d-tiny" in done.stdout
