"""A family of another package: one file of its own, found through its entry point."""

import sys

import pytest
import torch

import sg_hub
from sg_hub import InvalidInputError, ReadError
from sg_hub.models import registry

TINY = '''
"""Two strided convolutions, as a family of networks."""
from typing import Unpack
from torch import nn
from sg_hub.models.base import PretrainedModel, Shared, check_counts

class Encoder(nn.Module):
    input_key = "fine.weight"

    def __init__(self, in_chans, width):
        super().__init__()
        self.channels, self.strides = (width, 2 * width), ((2, 2, 1), (4, 4, 2))
        self.fine = nn.Conv3d(in_chans, width, 3, stride=(2, 2, 1), padding=1)
        self.deep = nn.Conv3d(width, 2 * width, 3, stride=2, padding=1)

    def forward(self, x):
        fine = self.fine(x).relu()
        return [fine, self.deep(fine).relu()]

class Tiny(PretrainedModel):
    """A network that is small."""
    NDIM = 3
    SETTINGS = ("width",)

    def __init__(self, *, width: int = 4, **shared: Unpack[Shared]) -> None:
        super().__init__(**shared)
        (width,) = check_counts(width=width)
        self.assemble(Encoder(self.in_chans, width), width=width)
'''
ENTRY = "[sg_hub.models]\nTiny = tiny_family:Tiny\nAbsent = tiny_family:Absent\nEncoder = tiny_family:Encoder\n"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed distribution that adds a family."""
    folder = tmp_path / "site"
    (folder / "tiny_family-1.0.dist-info").mkdir(parents=True)
    (folder / "tiny_family-1.0.dist-info" / "METADATA").write_text(
        "Name: tiny_family\nVersion: 1.0\n", encoding="utf-8"
    )
    (folder / "tiny_family-1.0.dist-info" / "entry_points.txt").write_text(ENTRY, encoding="utf-8")
    (folder / "tiny_family.py").write_text(TINY, encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))
    yield
    sys.modules.pop("tiny_family", None)


@pytest.fixture
def tiny(package):
    torch.manual_seed(0)
    return registry.family("Tiny")(width=2, num_classes=3)


def test_a_family_of_another_package_is_loaded_by_its_config(tiny, tmp_path):
    tiny.eval().save_pretrained(tmp_path / "model")
    loaded = sg_hub.from_pretrained(tmp_path / "model")
    assert type(loaded).__name__ == "Tiny"
    x = torch.rand(1, 1, 8, 12, 6)
    with torch.inference_mode():
        assert torch.equal(loaded(x).restoration, tiny(x).restoration)
    assert loaded.config() == tiny.config()
    assert "Tiny" in registry.families()


def test_a_family_of_one_file_has_every_head_part_and_check(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    x = torch.rand(2, 2, 8, 12, 6)
    for head, classes in (("segmentation", 2), ("classification", 4), ("features", None), ("restoration", None)):
        model = sg_hub.from_pretrained(tmp_path, head=head, num_classes=classes, in_chans=2, part="encoder")
        assert model.load_report.adapted == ["encoder.fine.weight"]
        with torch.inference_mode():
            output = model(x)
        assert [tuple(m.shape[1:]) for m in model.encoder(x)] == [(2, 4, 6, 6), (4, 2, 3, 3)]
        if head == "segmentation":
            assert output.shape == (2, 2, 8, 12, 6)
    with pytest.raises(InvalidInputError, match=r"multiple of \(4, 4, 2\); the nearest allowed size is \(8, 8, 6\)"):
        tiny(torch.rand(1, 1, 8, 9, 6))
    assert tiny(torch.rand(1, 1, 8, 9, 5), pad=True).restoration.shape == (1, 1, 8, 9, 5)
    with pytest.raises(InvalidInputError, match="width=0"):
        type(tiny)(width=0)
    with pytest.raises(TypeError, match=r"Tiny.__init__\(\) got an unexpected keyword argument 'depth'"):
        type(tiny)(depth=3)
    decoder = tiny.build_decoder(skips=False)
    assert decoder(tiny.encoder(x[:, :1])).shape == (2, decoder.out_chans, 8, 12, 6)


@pytest.mark.parametrize(
    ("architecture", "error", "words"),
    [
        ("Unheard", ReadError, r"knows Absent, .*SemanticGenesis2D, SemanticGenesis3D, .*Tiny.*: upgrade it"),
        ("Absent", sg_hub.SgHubError, r"the package that adds Absent \(tiny_family:Absent\) cannot be imported"),
        ("Encoder", sg_hub.SgHubError, "expected a PretrainedModel of that name"),
    ],
)
def test_families_that_cannot_be_had(package, tmp_path, architecture, error, words):
    (tmp_path / "config.json").write_text(f'{{"architecture": "{architecture}"}}', encoding="utf-8")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(error, match=words):
        sg_hub.from_pretrained(tmp_path)


def test_a_constructor_that_looks_at_values_is_no_obstacle(tmp_path, monkeypatch, tiny):
    cls = type(tiny)
    inner = cls.__init__

    def looking(self, **options):
        inner(self, **options)
        float(self.encoder.fine.weight.detach().sum())

    tiny.save_pretrained(tmp_path)
    monkeypatch.setattr(cls, "__init__", looking)
    assert sg_hub.from_pretrained(tmp_path).num_classes == 3
