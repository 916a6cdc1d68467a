"""A method of another package, found through its entry point: the example in the protocol's docstring, run."""

import json
import sys
import textwrap

import pytest
import torch

import training.methods.protocol as protocol
from sg_hub import from_pretrained
from tests.training.conftest import small_recipe
from training.methods.registry import method_of, methods
from training.pretraining.evaluate import evaluate
from training.pretraining.pretrain import pretrain
from training.pretraining.show_transforms import show_transforms
from training.run.folder.metrics import read_metrics

ROTATION = 'method={ name = "rotation" }'


def example() -> str:
    """The code in the docstring, as it is in a checkout."""
    lines = protocol.__doc__.splitlines()
    first = next(i for i, line in enumerate(lines) if line == "    import torch")
    last = next(i for i, line in enumerate(lines) if line.startswith("(In a checkout"))
    return textwrap.dedent("\n".join(lines[first:last])).replace("sg_hub.training", "training")


@pytest.fixture
def announced(tmp_path, monkeypatch):
    """A package that is installed, and announces the example."""
    package, metadata = tmp_path / "site" / "my_package", tmp_path / "site" / "my_package-1.0.dist-info"
    package.mkdir(parents=True)
    metadata.mkdir()
    (package / "__init__.py").touch()
    (package / "rotation.py").write_text(example(), encoding="utf-8")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n", encoding="utf-8")
    entry = next(line for line in protocol.__doc__.splitlines() if "my_package.rotation:Rotation" in line)
    (metadata / "entry_points.txt").write_text(
        f"[sg_hub.methods]\n{entry.strip().replace(chr(34), '')}\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(package.parent))
    yield package
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_the_example_is_short():
    assert len([line for line in example().splitlines() if line]) <= 45


def test_the_example_trains_without_discovery(announced, run):
    assert "rotation" in methods()
    (run / "discovery" / "patterns.csv").unlink()
    recipe = small_recipe(run, ROTATION, "pretrain.samples_per_epoch=8")
    folder = pretrain(recipe, progress=False)
    rows = read_metrics(run / "pretraining" / "metrics.jsonl")
    assert [row["stage"] for row in rows] == ["rotation", "rotation"]
    assert {"loss", "validation_loss", "validation_top1"} <= rows[0].keys()
    assert from_pretrained(folder).num_classes == 4
    assert (run / "pretraining" / "views.png").is_file()
    assert show_transforms(recipe).stat().st_size > 5000
    found = json.loads(evaluate(recipe, progress=False).read_text(encoding="utf-8"))
    assert 0 <= found["top1 corrupted"] <= 1
    assert {result.name for result in method_of(recipe).results(found)} == {"loss corrupted", "top1 corrupted"}
    record = json.loads((run / "pretrain.json").read_text(encoding="utf-8"))
    assert record["recipe"]["method"] == {"name": "rotation", "semantics": False, "turns": 4}


def test_what_the_example_defines(announced, run):
    method = method_of(small_recipe(run, ROTATION))
    cubes = torch.rand(40, 1, 8, 8, 4, generator=torch.Generator().manual_seed(0))
    views = method.views(protocol.Batch(cubes), torch.Generator().manual_seed(0))
    turn = views.targets["turn"]
    assert set(turn.tolist()) == {0, 1, 2, 3}
    for cube, seen, quarter in zip(cubes, views.inputs[0], turn.tolist(), strict=True):
        assert torch.equal(seen.rot90(-quarter, (1, 2)), cube), "turned back it is the cube"
