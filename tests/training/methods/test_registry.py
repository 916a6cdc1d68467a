import subprocess
import sys
from typing import get_args

import pytest

from sg_hub.errors import InvalidInputError
from tests.training.conftest import small_recipe
from training.methods.protocol import Method, Needs
from training.methods.registry import build, method_class, method_of, methods, resolve
from training.methods.with_semantics import WithSemantics
from training.publishing.replacing import PICTURES

SHIPPED = ("autoencoder", "restoration", "self_classification")


@pytest.mark.parametrize("name", methods())
def test_every_method_describes_itself(name):
    kind = method_class(name)
    assert kind.name == name
    method = build({"name": name})
    assert method.title
    assert method.about.endswith(".")
    assert method.needs in get_args(Needs)
    assert method.picture in PICTURES, "of patients: it is sent to no hub unasked, and replaced by the next one"
    assert sum(stage.epochs for stage in method.stages(7)) == 7
    assert "name" not in method.described()


def test_every_file_is_found():
    assert set(SHIPPED) <= set(methods())


def test_a_method_is_imported_when_it_is_asked_for():
    code = (
        "import sys; from training.methods.registry import methods, method_class; methods();"
        "assert 'training.methods.autoencoder' not in sys.modules; method_class('autoencoder')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("method.name=restoratoin", r"did you mean restoration\? There are autoencoder"),
        ("method.elastics=3", r"restoration: elastics: there is no such key; did you mean elastic\?"),
        ("pretrain.lambda_cls=-1", "lambda_cls = -1: expected a number from 0"),
        ("method={ name = 'restoration', lambda_cls = 1.0 }", "lambda_cls: there is no such key"),
        ("method={ name = 'self_classification', semantics = true }", "restores nothing"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path, override, said):
    with pytest.raises(InvalidInputError, match=said):
        resolve(small_recipe(tmp_path, override))


def test_every_setting_is_recorded(tmp_path):
    recipe = resolve(small_recipe(tmp_path, "method.lambda_rec=0.5"))
    assert recipe.method.model_dump() == {
        "name": "restoration",
        "semantics": True,
        "transforms": "one",
        "elastic": (65.0, 4.0),
        "shuffle_windows": 100,
        "classification_epochs": 1,
        "lambda_rec": 0.5,
        "lambda_cls": 0.01,
    }
    assert resolve(recipe) == recipe
    assert isinstance(method_of(recipe), WithSemantics)


@pytest.mark.parametrize(
    ("content", "said"),
    [("raise OSError('no disk')", r"cannot be imported \(OSError: no disk\)"), ("Rotation = 3", "is no Method")],
)
def test_a_package_whose_method_is_broken_is_named(tmp_path, monkeypatch, content, said):
    (tmp_path / "broken_package.py").write_text(content, encoding="utf-8")
    metadata = tmp_path / "broken_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[sg_hub.methods]\nrotation = broken_package:Rotation\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "broken_package", raising=False)
    with pytest.raises(InvalidInputError, match=f"broken_package:Rotation.*{said}"):
        method_class("rotation")
    monkeypatch.delitem(sys.modules, "broken_package", raising=False)
    assert issubclass(method_class("restoration"), Method), "the others are there all the same"
