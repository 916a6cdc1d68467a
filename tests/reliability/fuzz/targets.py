"""Damaged targets, and the tables, outlines and archives of every data set that a reader reads."""

from __future__ import annotations

import functools
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.reliability.fuzz.mutations import damage, edited_json, edited_text
from tests.reliability.harness import Files, Kind
from tests.reliability.processes import of_a_fork
from tests.support.folders import DEMO_SAMPLES
from tests.training.targets import target_folders as data
from training.targets import load_target

CLASSES = "reader = 'folder'\nname = 'mine'\nroot = '.'\nhead = 'classification'\nmetric = 'auc'\ntable = 'cases.csv'\n"
CLASSES += "classes = ['good', 'bad']\n[grid]\nsize = [16, 16, 8]\n[splits]\nfile = 'split.csv'\n"
CASES = "image,label,patient\n" + "".join(f"c{k},{'good' if k % 2 else 'bad'},p{k}\n" for k in range(8))
SPLIT = "patient,split\n" + "".join(f"p{k},{('train', 'train', 'validation', 'test')[k // 2]}\n" for k in range(8))
XML = ("069.xml",)
SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.77"


# -- parsers, which run in the worker -----------------------------------------------------------------------------


def read_target(path: Path) -> None:
    """What comes out has to be a task whose items are found, split and read."""
    _read(load_target(path))


def _reader(name: str, *overrides: str) -> Callable[[Path], None]:
    """The same for a shipped target, whose folder is given."""

    def read_folder(path: Path) -> None:
        _read(load_target(name, [f"root={path}", *overrides]))

    return read_folder


def _read(target: object) -> None:
    items = target.split_items().items  # type: ignore[attr-defined]
    assert {item.split for item in items} == {"train", "validation", "test"}
    for item in items[:2]:
        loaded = target.load(item)  # type: ignore[attr-defined]
        assert np.isfinite(loaded.image).all()
        assert loaded.label.dtype.kind in "iub"


# -- inputs -------------------------------------------------------------------------------------------------------


def _organs(rng: random.Random) -> Files:
    files = dict(_made("organs"))
    files["own.toml"] = edited_text(files["own.toml"].decode(), rng)
    return files, "own.toml"


def _cases(rng: random.Random) -> Files:
    files = dict(_made("classes"))
    name = rng.choice(("cases.csv", "split.csv", "own.toml"))
    files[name] = edited_text(files[name].decode(), rng)
    return files, "own.toml"


def _described(name: str, description: str) -> Callable[[random.Random], Files]:
    """What describes a whole data set is damaged, or the TOML of the target."""

    def make(rng: random.Random) -> Files:
        files = dict(_made(name))
        chosen = rng.choice((description, description, "own.toml"))
        edit = edited_json if chosen.endswith(".json") else lambda raw, rng: edited_text(raw.decode(), rng)
        files[chosen] = edit(files[chosen], rng)
        return files, "own.toml"

    return make


def _tables(name: str, *suffixes: str) -> Callable[[random.Random], Files]:
    """One of the files of these suffixes is damaged."""

    def make(rng: random.Random) -> Files:
        files = dict(_made(name))
        chosen = rng.choice([file for file in files if file.endswith(suffixes)])
        raw = files[chosen]
        files[chosen] = damage(raw, rng) if chosen.endswith(".npz") else edited_text(raw.decode(), rng)
        return files, "."

    return make


# -- what is damaged ----------------------------------------------------------------------------------------------


@functools.cache
def _made(name: str) -> dict[str, bytes]:
    """The files of a small data set."""

    def make() -> dict[str, bytes]:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            _MAKERS[name](root)
            files = (path for path in sorted(root.rglob("*")) if path.is_file())
            return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}

    return of_a_fork(make)


def _scans(folder: Path, names: list[str], high: int = 5) -> None:
    for number, name in enumerate(names):
        values = np.random.default_rng(number).integers(0, high, (12, 10, 8)).astype(np.int16)
        data.write_scan(folder / f"{name}.nii.gz", values, spacing=(4.0, 4.0, 3.0))


def _make_organs(root: Path) -> None:
    text = (DEMO_SAMPLES / "organs.toml").read_text(encoding="utf-8")
    (root / "own.toml").write_text(text.replace("[32, 32, 16]", "[8, 8, 8]"), encoding="utf-8")
    table = (DEMO_SAMPLES / "openkbp" / "organs.csv").read_text(encoding="utf-8")
    names = [line.split(",")[0] for line in table.splitlines()[1:]]
    for kind in ("ct", "labels"):
        _scans(root / "openkbp" / kind, names)
    (root / "openkbp" / "organs.csv").write_text(table, encoding="utf-8")


def _make_classes(root: Path) -> None:
    _scans(root / "images", [f"c{k}" for k in range(8)])
    for name, text in {"own.toml": CLASSES, "cases.csv": CASES, "split.csv": SPLIT}.items():
        (root / name).write_text(text, encoding="utf-8")


def _make_openkbp(root: Path) -> None:
    names = [f"pt_{k}" for k in range(6)]
    for kind in ("ct", "labels"):
        _scans(root / kind, names, 7)
    organs = load_target("openkbp-organs").classes
    rows = [(name, ("train-pats", "validation-pats")[k // 4], *[9] * len(organs)) for k, name in enumerate(names)]
    data.write_csv(root / "patients.csv", ("patient", "split", *(organ.replace(" ", "_") for organ in organs)), rows)


def _make_lidc(root: Path) -> None:
    for number in range(1, 5):
        folder, series = root / f"LIDC-IDRI-{number:04d}" / "x", f"{SERIES}.{number}"
        data.lidc_scan(folder, series, shape=(24, 22, 8))
        outline = [data.roi(-100.0 + 2.5 * k, data.square(9, 20)) for k in range(3, 6)]
        data.lidc_xml(folder / XML[0], series, [[data.nodule("1", outline)]] * 3)


def _make_siim(root: Path) -> None:
    images = {f"i{k}": (f"p{k}", ["-1" if k % 2 else "40 3 20 5"]) for k in range(8)}
    data.siim_acr(root, images)


def _make_nnunet(root: Path) -> None:
    data.nnunet(root / "Dataset007_Liver", cases=8)
    text = "reader = 'nnunet'\nroot = 'Dataset007_Liver'\npatient = '(pat\\d+)_'\n[settings]\npatch = [8, 8, 8]\n"
    (root / "own.toml").write_text(text, encoding="utf-8")


def _make_bids(root: Path) -> None:
    data.bids(root / "bids")
    text = "reader = 'bids'\nname = 'b'\nroot = 'bids'\nhead = 'classification'\nmetric = 'auc'\n"
    text += "classes = ['control', 'patient']\ncolumn = 'diagnosis'\n[grid]\nsize = [8, 8, 8]\n"
    (root / "own.toml").write_text(text, encoding="utf-8")


_MAKERS: dict[str, Callable[[Path], object]] = {
    "organs": _make_organs,
    "classes": _make_classes,
    "openkbp": _make_openkbp,
    "nnunet": _make_nnunet,
    "bids": _make_bids,
    "luna16": lambda root: data.luna16(root, candidates=2),
    "chestxray14": lambda root: data.chestxray14(root, 8),
    "siim_acr": _make_siim,
    "lidc_idri": _make_lidc,
    "lidc_patches": lambda root: data.lidc_patches(root, 8),
}
_CUBES, _SMALL = "grid.size=[16, 16, 8]", "min_positives=1"


def _tables_of(name: str, parse: Callable[[Path], None], *suffixes: str) -> Kind:
    return Kind(parse, _tables(name, *suffixes), weight=0.4, known_by=("target ",))


KINDS = {
    "target TOML": Kind(read_target, _organs, known_by=("target ",)),
    "tables of cases": Kind(read_target, _cases, known_by=("target ",)),
    "nnU-Net": Kind(
        read_target, _described("nnunet", "Dataset007_Liver/dataset.json"), weight=0.4, known_by=("target ",)
    ),
    "BIDS": Kind(read_target, _described("bids", "bids/participants.tsv"), weight=0.4, known_by=("target ",)),
    "OpenKBP": _tables_of("openkbp", _reader("openkbp-organs", "settings.patch=[8, 8, 8]"), ".csv"),
    "LUNA16": _tables_of("luna16", _reader("ncc", _CUBES, _SMALL), ".csv", ".mhd"),
    "ChestX-ray14": _tables_of("chestxray14", _reader("dxc", "grid.size=[32, 32]", _SMALL), ".csv", ".txt"),
    "SIIM-ACR": _tables_of("siim_acr", _reader("pxs", "grid.size=[32, 32]"), ".csv"),
    "LIDC-IDRI": _tables_of("lidc_idri", _reader("ncs", _CUBES), ".xml"),
    "LIDC patches": _tables_of("lidc_patches", _reader("lidc-candidates", _CUBES, "crop=16", _SMALL), ".npz"),
}
