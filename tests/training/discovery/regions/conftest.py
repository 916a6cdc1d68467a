"""A store of scans that show the same body, displaced, and a network that finds its places again."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from scipy.ndimage import gaussian_filter

from sg_hub import Preprocessing, SemanticGenesis3D
from training.data.prepare import open_store, prepare
from training.data.store import Store
from training.run.recipe import Recipe
from training.run.recipe_file import load_recipe

SPACING = (4.0, 4.0, 3.0)
WHOLE = (48, 44, 40)
CORNERS = {"p0": (0, 0, 0), "p1": (4, 2, 6), "p2": (2, 6, 2), "p3": (6, 0, 4), "p4": (0, 4, 0)}
"""Voxels of the body that the first voxel of a patient's scan shows."""
SPLITS = {"p3": "validation", "p4": "test"}


def regions_recipe(root: Path, *overrides: str, run: Path | None = None) -> Recipe:
    return load_recipe(
        "demo",
        [
            f"source={root / 'ct'}",
            f"run={run or root / 'run'}",
            f"split={root / 'split.csv'}",
            "split_names={ train = 'train', validation = 'validation', test = 'test' }",
            "prepare.workers=0",
            'method={ name = "dense_patterns", voxels = 32 }',
            "model.width=2",
            "discover.cube=[16, 16, 8]",
            "regions.references=1",
            "regions.regions=50",
            f"regions.weights={root / 'net'}",
            "pretrain.size=[16, 16, 8]",
            "pretrain.batch_size=4",
            "pretrain.samples_per_epoch=16",
            "pretrain.epochs=1",
            *overrides,
        ],
    )


@pytest.fixture(scope="session")
def bodies(tmp_path_factory) -> Path:
    """Three train patients, one for validation and one for the test; p0's scan is the largest."""
    root = tmp_path_factory.mktemp("bodies")
    (root / "ct").mkdir()
    noise = np.random.default_rng(4).normal(size=WHOLE)
    body = gaussian_filter(noise, 1.5)
    body = (body / body.std() * 250).astype(np.int16)
    for name, corner in CORNERS.items():
        scan = body[
            tuple(slice(c, side - (0 if name == "p0" else 8) + c) for c, side in zip(corner, WHOLE, strict=True))
        ]
        image = sitk.GetImageFromArray(np.ascontiguousarray(scan.transpose(2, 1, 0)))
        image.SetSpacing(SPACING)
        sitk.WriteImage(image, str(root / "ct" / f"{name}.nii.gz"))
    rows = [f"{name},{SPLITS.get(name, 'train')}" for name in CORNERS]
    (root / "split.csv").write_text("\n".join(["patient,split", *rows]) + "\n", encoding="utf-8")
    torch.manual_seed(1)
    expected = Preprocessing(low=-1000.0, high=1000.0, input_size=(16, 16, 8), spacing=SPACING)
    SemanticGenesis3D(width=4, preprocessing=expected).save_pretrained(root / "net")
    prepare(regions_recipe(root), progress=False)
    return root


@pytest.fixture
def store(bodies) -> Store:
    return open_store(regions_recipe(bodies), cache_mib=64)
