"""From a folder of scans to a store: every way in which that can be interrupted, repeated or go wrong."""

import contextlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import zarr

from sg_hub import load_scan
from sg_hub.cli import main
from sg_hub.errors import InvalidInputError, ReadError
from tests.support.folders import ROOT
from tests.support.forked import ended, run_ranks
from tests.training.run.other_process import at_work
from tests.training.scan_files import SIZE, write_scan, write_split
from training.data import convert as module
from training.data.items import stamp
from training.data.prepare import prepare, store_path
from training.data.store import Store


def table_of(store: str | Path) -> str:
    return (Path(store) / "patients.csv").read_text(encoding="utf-8")


def stored(store: str | Path) -> dict[str, bytes]:
    """Every file of a store but those that hold the time of a change."""
    root = Path(store)
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".partial" not in p.name
    }


def mtimes(store: str | Path, name: str) -> list[int]:
    return [p.stat().st_mtime_ns for p in sorted((Path(store) / "scans" / name).rglob("*"))]


def test_what_is_stored(recipe, source):
    summary = prepare(recipe(), progress=False)
    store = Store.open(store_path(recipe()))
    assert store.names() == list("abcdef")
    assert [p.split for p in store.patients].count("validation") == 1
    for name in store.names():
        expected = np.clip(load_scan(source / f"{name}.nii.gz").array, -1000, 1000)
        np.testing.assert_array_equal(store.whole(name), expected)
    assert store.window == (-1000.0, 1000.0)
    assert store.spacing == (2.0, 2.0, 3.0)
    assert store.patients[0].source == "a.nii.gz"
    assert (len(summary.kept), summary.already_there, summary.skipped) == (6, 0, {})


def test_parallel_is_serial(recipe, tmp_path, source):
    (source / "broken.nii.gz").write_bytes(b"no scan at all")
    serial = recipe()
    parallel = recipe("prepare.workers=2", f"run={tmp_path / 'parallel'}")
    one, other = prepare(serial, progress=False), prepare(parallel, progress=False)
    assert stored(store_path(serial)) == stored(store_path(parallel))
    assert one.kept == other.kept
    assert one.skipped == other.skipped


def test_broken_files_are_skipped_and_named(recipe, source, capsys):
    whole = (source / "b.nii.gz").read_bytes()
    (source / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    (source / "c.nii.gz").write_bytes(b"")
    (source / "d.nii.gz").unlink()
    (source / "d.nii.gz").symlink_to(source / "nowhere.nii.gz")
    summary = prepare(recipe(), progress=False)
    assert [p.name for p in summary.kept] == ["a", "e", "f"]
    assert list(summary.skipped) == ["b.nii.gz", "c.nii.gz", "d.nii.gz"]
    assert "empty" in summary.skipped["c.nii.gz"]
    printed = capsys.readouterr().out
    assert "3 patients in the store: 2 train, 1 validation, 0 test; 0 were there already, 3 skipped" in printed
    assert "skipped c.nii.gz: " in printed
    lines = (Path(store_path(recipe())) / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["b.nii.gz", "c.nii.gz", "d.nii.gz"]

    (source / "b.nii.gz").write_bytes(whole)
    assert [p.name for p in prepare(recipe(), progress=False).kept] == ["a", "b", "e", "f"]


def test_nothing_usable(recipe, source):
    for path in source.iterdir():
        path.write_bytes(b"")
    with pytest.raises(ReadError, match=r"none of the 6 scans .*a\.nii\.gz: .*empty"):
        prepare(recipe(), progress=False)
    with pytest.raises(ReadError, match="not finished"):
        Store.open(store_path(recipe()))


# Again


def test_again_reads_nothing(recipe, monkeypatch):
    before = prepare(recipe(), progress=False)
    files = stored(store_path(recipe()))
    monkeypatch.setattr(module, "load_scan", None)
    again = prepare(recipe(), progress=False)
    assert stored(store_path(recipe())) == files
    assert again.already_there == 6
    assert again.kept == before.kept


@pytest.mark.parametrize("change", ["content", "time"])
def test_a_changed_source_is_read_again(recipe, source, change):
    prepare(recipe(), progress=False)
    store = store_path(recipe())
    before, untouched, fingerprint = mtimes(store, "b"), mtimes(store, "a"), Store.open(store).fingerprint
    if change == "content":
        write_scan(source / "b.nii.gz", seed=77, size=(10, 10, 10))
    else:
        os.utime(source / "b.nii.gz", ns=(1, 1))
    summary = prepare(recipe(), progress=False)
    assert summary.already_there == 5
    assert mtimes(store, "b") != before
    assert mtimes(store, "a") == untouched
    assert (Store.open(store).fingerprint != fingerprint) == (change == "content")
    assert Store.open(store).shape("b") == ((10, 10, 10) if change == "content" else SIZE)


def test_a_source_that_went(recipe, source):
    prepare(recipe(), progress=False)
    (source / "b.nii.gz").unlink()
    prepare(recipe(), progress=False)
    assert Store.open(store_path(recipe())).names() == list("acdef")


@pytest.mark.parametrize(
    "setting", ["prepare.spacing=[4.0, 4.0, 3.0]", "prepare.window=[-500.0, 500.0]", "prepare.chunk=[8, 8, 8]"]
)
def test_changed_settings(recipe, setting):
    prepare(recipe(), progress=False)
    files = stored(store_path(recipe()))
    key = setting.partition("=")[0].partition(".")[2]
    with pytest.raises(InvalidInputError, match=f"prepared with another {key} .*give another run=FOLDER"):
        prepare(recipe(setting), progress=False)
    assert stored(store_path(recipe())) == files


def test_scans_of_another_number_of_channels_are_skipped(recipe, source):
    two = sitk.GetImageFromArray(
        np.random.default_rng(0).normal(0, 300, (8, 12, 12, 2)).astype(np.float32), isVector=True
    )
    sitk.WriteImage(two, str(source / "two.nii.gz"))
    found = prepare(recipe(), progress=False)
    assert [item.name for item in found.kept] == [*"abcdef"]
    assert found.skipped == {"two.nii.gz": "2 channels, where 6 others have 1"}


def test_a_zarr_group_of_others_is_left_as_it_is(recipe):
    path = store_path(recipe())
    group = zarr.open_group(path, mode="w")
    group.create_array("scans/a", data=np.arange(6.0))
    with pytest.raises(InvalidInputError, match="is a zarr group, and none of sg_hub"):
        prepare(recipe(), progress=False)
    assert zarr.open_group(path, mode="r")["scans/a"][:].tolist() == [*range(6)]


def test_a_half_written_patient_is_written_again(recipe):
    prepare(recipe(), progress=False)
    store = Path(store_path(recipe()))
    files = stored(store)
    array = zarr.open_group(str(store))["scans/c"]
    del array.attrs["stamp"]
    next(p for p in (store / "scans" / "c" / "c").rglob("*") if p.is_file()).unlink()
    (store / "scans" / "d" / "zarr.json").write_text('{"zarr_format": 3, "node', encoding="utf-8")
    (store / "patients.csv").unlink()
    summary = prepare(recipe(), progress=False)
    assert summary.already_there == 4
    assert stored(store) == files


def test_while_a_scan_is_rewritten_the_store_is_not_finished(recipe, source, monkeypatch):
    """A kill at any moment of the rewriting leaves neither an old table nor a mark on mixed voxels."""
    prepare(recipe(), progress=False)
    before = stamp(source / "b.nii.gz")
    original = (source / "b.nii.gz").read_bytes(), (source / "b.nii.gz").stat().st_mtime_ns
    write_scan(source / "b.nii.gz", seed=77)

    class Killed(BaseException):
        pass

    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "rmtree", kill)
        with pytest.raises(Killed):
            prepare(recipe(), progress=False)
    with pytest.raises(ReadError, match="not finished"):
        Store.open(store_path(recipe()))
    (source / "b.nii.gz").write_bytes(original[0])
    os.utime(source / "b.nii.gz", ns=(original[1], original[1]))
    assert stamp(source / "b.nii.gz") == before
    assert prepare(recipe(), progress=False).already_there == 5


KILLED = """
import sys, time
from pathlib import Path
from sg_hub.cli import main
from training.data import convert as module

scans, load = Path(sys.argv[1]), module.load_scan
def load_a_few(path):
    while scans.is_dir() and len(list(scans.iterdir())) > 3:
        time.sleep(0.01)  # until this process is ended
    return load(path)
module.load_scan = load_a_few

if __name__ == "__main__":
    sys.exit(main(["prepare", "demo", *sys.argv[2:], "--quiet"]))
"""


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_stopped_and_started_again(recipe, tmp_path, source, number, status):
    for i in range(20):
        write_scan(source / f"more{i:02}.nii.gz", seed=100 + i)
    run = tmp_path / "killed"
    (tmp_path / "killed.py").write_text(KILLED, encoding="utf-8")
    settings = [f"source={source}", f"run={run}", "prepare.workers=2", "prepare.spacing=[2.0, 2.0, 3.0]"]
    scans = run / "store.zarr" / "scans"
    command = [sys.executable, str(tmp_path / "killed.py"), str(scans), *settings]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE) as process:
        while not (scans.is_dir() and len(list(scans.iterdir())) > 3):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait() == status
        process.stdout.read()  # it ends when the workers, which have it too, have ended with their parent
    with pytest.raises(ReadError, match="not finished"):
        Store.open(run / "store.zarr")
    there = prepare(recipe(f"run={run}"), progress=False).already_there
    assert 0 < there < 26
    prepare(recipe(), progress=False)
    assert stored(run / "store.zarr") == stored(store_path(recipe()))


def on_a_small_disk(limit, settings, said):
    """In a process of its own, in which no file may be larger, but what is printed goes to one."""
    with open(said, "w", encoding="utf-8") as file, contextlib.redirect_stderr(io.StringIO()) as text:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        status = main(["prepare", "demo", *settings, "--quiet"])
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        file.write(text.getvalue())
    return status


@pytest.mark.parametrize("limit", [0, 300, 3000])
def test_where_no_file_may_be_larger(recipe, tmp_path, source, limit):
    settings = [f"source={source}", f"run={tmp_path / 'run'}", "prepare.workers=1", "prepare.spacing=[2.0, 2.0, 3.0]"]
    assert ended(on_a_small_disk, limit, settings, tmp_path / "said") == 2
    said = (tmp_path / "said").read_text(encoding="utf-8")
    assert "Traceback" not in said
    assert re.search(r"store\.zarr.* cannot be written .*File too large", said)
    assert prepare(recipe(), progress=False).already_there == 0
    assert not list((tmp_path / "run").rglob(".unfinished-*"))
    assert not list((tmp_path / "run" / "store.zarr").glob("*.partial"))


def test_a_folder_that_may_not_be_written_to(recipe, monkeypatch):
    def denied(*arguments, **more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("zarr.open_group", denied)
    with pytest.raises(ReadError, match=r"store\.zarr cannot be written \(Permission denied\)"):
        prepare(recipe(), progress=False)


def test_two_processes_in_one_run(recipe, tmp_path):
    with at_work(tmp_path / "run"), pytest.raises(InvalidInputError, match="run is in use by process"):
        prepare(recipe(), progress=False)
    assert len(prepare(recipe(), progress=False).kept) == 6


def test_another_split_reads_nothing_again(recipe, tmp_path, monkeypatch):
    prepare(recipe(), progress=False)
    path = write_split(tmp_path / "split.csv", dict.fromkeys("abcde", "train") | {"f": "test"})
    monkeypatch.setattr(module, "load_scan", None)
    prepare(recipe(f"split={path}", "validation_share=0.4"), progress=False)
    splits = [p.split for p in Store.open(store_path(recipe())).patients]
    assert splits[-1] == "test"
    assert (splits.count("train"), splits.count("validation")) == (3, 2)


# Several processes


def fill(recipe) -> None:
    prepare(recipe, progress=False)


def test_processes_share_the_scans(recipe, source, tmp_path):
    (source / "broken.nii.gz").write_bytes(b"nothing")
    fill(recipe(f"run={tmp_path / 'alone'}"))
    shared = recipe(f"run={tmp_path / 'shared'}")
    assert run_ranks(4, fill, shared) == [(0, "")] * 4  # 7 files: 2, 2, 2 and 1
    assert stored(store_path(shared)) == stored(tmp_path / "alone" / "store.zarr")
    assert prepare(shared, progress=False).already_there == 6


# A source that is a store


def test_the_summary(recipe):
    summary = prepare(recipe(), progress=False)
    files = stored(store_path(recipe()))
    assert summary.megabytes == pytest.approx(sum(map(len, files.values())) / 1e6, abs=1e-3)
    assert "0.0 million voxels" in str(summary)
    assert "spacing 2 x 2 x 3 mm" in str(summary)
    assert table_of(store_path(recipe())).startswith("patient,split,shape,channels,spacing,source,sha256,images\na,")


def test_chunks_lost_from_a_prepared_store_are_seen(recipe):
    prepare(recipe(), progress=False)
    next(p for p in (Path(store_path(recipe())) / "scans" / "a" / "c").rglob("*") if p.is_file()).unlink()
    with pytest.raises(ReadError, match=r"patient a .*lacks chunks"):
        Store.open(store_path(recipe())).whole("a")


# Validation patients


def test_drawn_validation(recipe, tmp_path, source):
    def drawn(*overrides: str) -> list[str]:
        prepare(recipe(*overrides), progress=False)
        return Store.open(store_path(recipe())).names("validation")

    assert len(drawn("validation_share=0.0")) == 0
    half = drawn("validation_share=0.5")
    assert len(half) == 3
    assert drawn("validation_share=0.5") == half
    others = {tuple(drawn("validation_share=0.5", f"seed={seed}")) for seed in range(5)}
    assert len(others) > 1, "the seed draws"


def test_validation_is_drawn_among_readable_scans(recipe, source):
    prepare(recipe(), progress=False)
    (drawn,) = Store.open(store_path(recipe())).names("validation")
    (source / f"{drawn}.nii.gz").write_bytes(b"")
    prepare(recipe(), progress=False)
    assert len(Store.open(store_path(recipe())).names("validation")) == 1


def test_a_single_patient_stays_for_training(recipe, source):
    for name in "bcdef":
        (source / f"{name}.nii.gz").unlink()
    prepare(recipe(), progress=False)
    assert Store.open(store_path(recipe())).names("train") == ["a"]
