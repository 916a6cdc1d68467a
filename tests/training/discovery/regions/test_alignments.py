"""Where patients lie on the references, and how that is read."""

import pickle
import shutil

import numpy as np
import pytest
import torch
import zarr

from sg_hub.errors import InvalidInputError, ReadError
from tests.training.discovery.regions.conftest import CORNERS, SPACING, regions_recipe
from training.discovery.located import finder
from training.discovery.regions import alignments as module
from training.discovery.regions.alignments import FAR, Alignments, align_patients, begin
from training.discovery.regions.references import References
from training.run.processes.process_group import Process

ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def aligned(bodies, tmp_path_factory):
    """All patients of the store on p0, and the fingerprint."""
    from training.data.prepare import open_store

    store = open_store(regions_recipe(bodies), cache_mib=64)
    path = tmp_path_factory.mktemp("aligned") / "alignments.zarr"
    references = References.found(store, regions_recipe(bodies))
    network = finder(str(bodies / "net"), store)
    begin(path, "of this")
    found, counts = align_patients(network, store, references, path, "of this", ALONE, tissue_hu=-150, progress=False)
    assert counts == [4]
    return path, found


def centres(shape):
    axes = [(np.arange(side) + 0.5) * mm for side, mm in zip(shape, SPACING, strict=True)]
    return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"))).float()


def test_every_patient_lies_where_its_body_is(store, aligned):
    alignments = Alignments(aligned[0])
    for name, corner in CORNERS.items():
        shape = store.shape(name)
        ((*mm, unlike),) = alignments.crop(name, [0, 0, 0], shape, shape)
        moved = torch.tensor([c * mm for c, mm in zip(corner, SPACING, strict=True)]).view(3, 1, 1, 1)
        off = (torch.stack(mm) - centres(shape) - moved).norm(dim=0)[4:-4, 4:-4, 4:-4]
        assert off.median() < (0.5 if name == "p0" else 3), name
        assert unlike[4:-4, 4:-4, 4:-4].median() < (1e-6 if name == "p0" else 0.25), name


def test_a_crop_is_what_lies_in_the_box_and_nothing_is_alike_outside_of_the_scan(store, aligned):
    alignments, shape = Alignments(aligned[0]), store.shape("p0")
    whole = alignments.crop("p0", [0, 0, 0], shape, shape)
    part = alignments.crop("p0", [10, 12, 6], [16, 16, 8], [16, 16, 8])
    torch.testing.assert_close(part, whole[:, :, 10:26, 12:28, 6:14])
    coarse = alignments.crop("p0", [10, 12, 6], [16, 16, 8], [8, 8, 4])
    torch.testing.assert_close(coarse, torch.nn.functional.avg_pool3d(part, 2), atol=1e-3, rtol=0)
    beyond = alignments.crop("p0", [-8, 0, shape[2] - 4], [16, 16, 8], [16, 16, 8])[0, 3]
    assert (beyond[:8] == FAR).all()
    assert (beyond[:, :, 4:] == FAR).all()
    assert (beyond[8:, :, :4] < 1e-6).all()
    torch.testing.assert_close(alignments.crop("p0", [0, 0, 0], shape, shape, reference=0), whole)
    again = pickle.loads(pickle.dumps(alignments))
    torch.testing.assert_close(again.crop("p0", [0, 0, 0], shape, shape), whole)


def test_a_run_that_was_stopped_goes_on_with_those_who_are_left(store, bodies, aligned, monkeypatch, tmp_path):
    seen, of_patient = [], module.mapped

    def noted(network, store, number, finest):
        seen.append(number)
        return of_patient(network, store, number, finest)

    monkeypatch.setattr(module, "mapped", noted)
    path, references = tmp_path / "alignments.zarr", References.found(store, regions_recipe(bodies))
    network = finder(str(bodies / "net"), store)

    def run(of="of this"):
        seen.clear()
        begin(path, of)
        return align_patients(network, store, references, path, of, ALONE, tissue_hu=-150, progress=False)[0]

    assert run() == aligned[1], "the same again"
    assert len(seen) == 6
    group = zarr.open_group(str(path), mode="r+")
    del group["p3"].attrs["sha256"]
    assert run() == aligned[1]
    assert seen == [0, 3], "the reference, and who was not finished"
    assert run() == aligned[1]
    assert seen == []
    assert run("of other weights") != aligned[1]
    assert len(seen) == 6


def test_who_is_found_nowhere_is_like_nothing(store, bodies, monkeypatch, tmp_path):
    def lost(*_):
        raise InvalidInputError("none is found")

    monkeypatch.setattr(module, "align", lost)
    references, network = References.found(store, regions_recipe(bodies)), finder(str(bodies / "net"), store)
    begin(tmp_path / "a.zarr", "")
    with pytest.raises(InvalidInputError, match="no reference is found in any other patient"):
        align_patients(network, store, references, tmp_path / "a.zarr", "", ALONE, tissue_hu=-150, progress=False)
    assert (Alignments(tmp_path / "a.zarr").crop("p1", [0, 0, 0], [8, 8, 8], [4, 4, 4])[0, 3] == FAR).all()
    begin(tmp_path / "b.zarr", "")
    with pytest.raises(InvalidInputError, match=r"the reference p0 has no voxel above discover.tissue_hu=2000"):
        align_patients(network, store, references, tmp_path / "b.zarr", "", ALONE, tissue_hu=2000, progress=False)


def test_what_is_not_ours_is_left_as_it_is(tmp_path):
    zarr.open_group(str(tmp_path / "mine.zarr"), mode="w").create_array("x", shape=(3,), dtype="f4")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "mine.zarr")
    for name in ("mine.zarr", "link.zarr"):
        with pytest.raises(InvalidInputError, match="is none of sg_hub's: it is left as it is"):
            begin(tmp_path / name, "")
    assert "x" in zarr.open_group(str(tmp_path / "mine.zarr"), mode="r")
    (tmp_path / "file.zarr").write_text("text", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="is no folder"):
        begin(tmp_path / "file.zarr", "")
    (tmp_path / "killed.zarr").mkdir()
    (tmp_path / "killed.zarr" / "zarr.json.1234.partial").write_text("{", encoding="utf-8")
    assert begin(tmp_path / "killed.zarr", "")
    assert not begin(tmp_path / "killed.zarr", "")


def test_damage_is_said(aligned, tmp_path):
    with pytest.raises(ReadError, match=r"has no nobody .*run `sg-hub discover` again"):
        Alignments(aligned[0]).crop("nobody", [0, 0, 0], [4, 4, 4], [2, 2, 2])
    path = shutil.copytree(aligned[0], tmp_path / "copy.zarr")
    chunk = next(file for file in sorted((path / "p1" / "c").rglob("*")) if file.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-8] + b"12345678")
    with pytest.raises(ReadError, match=r"p1 cannot be read .*run `sg-hub discover` again"):
        Alignments(path).crop("p1", [0, 0, 0], [40, 36, 32], [20, 18, 16])
    chunk.unlink()
    with pytest.raises(ReadError, match="p1 lacks chunks: copy it again"):
        Alignments(path).crop("p1", [0, 0, 0], [40, 36, 32], [20, 18, 16])
