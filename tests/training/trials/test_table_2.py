"""The paper's Table 2 from pre-training to the table: the commands of the README, on made data of the right layout."""

import shlex

import numpy as np
import pytest

import sg_hub
from sg_hub.cli import main
from tests.support.folders import ROOT
from tests.training.conftest import SMALL
from tests.training.targets import target_folders as folders
from training.data.leakage import patient_hashes
from training.trials.grids.results import read_results

SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.{}"
TARGETS = ("ncc", "ncs", "lcs", "bms")


def luna16(root):
    """Ten scans of tissue, a subset each; its candidates are where the scans have tissue too."""
    folders.luna16(root)
    for number in range(10):
        array = np.random.default_rng(number).normal(0, 200, (40, 36, 24)).astype(np.int16)
        path = root / f"subset{number}" / f"{SERIES.format(1000 + number)}.mhd"
        folders.write_scan(path, array, (0.8, 0.8, 2.0), (-20.0 - number, -15.0, 100.0))


def lidc_idri(root, patients=14):
    """The same series as DICOM, and four that LUNA16 left out; three readers outlined a nodule in each."""
    for number in range(patients):
        series = SERIES.format(1000 + number)
        folder = root / f"LIDC-IDRI-{number + 1:04d}" / "01-01-2000-NA-NA-1" / "3000566-NA-1"
        folders.lidc_scan(folder, series)
        outline = [(x, y + 2) for x, y in folders.square(9, 20)]
        box = [folders.roi(-100.0 + 2.5 * k, outline) for k in range(4, 8)]
        folders.lidc_xml(folder / "1.xml", series, [[folders.nodule("n", box)]] * 3)


@pytest.fixture
def data(tmp_path):
    luna16(tmp_path / "data" / "luna16")
    lidc_idri(tmp_path / "data" / "lidc-idri")
    folders.lits(tmp_path / "data" / "lits", (0, 1, 2, 100, 101, 115, 116))
    names = {f"Brats18_TCIA0{i}_{100 + i}_1": "HGG" if i % 2 else "LGG" for i in range(1, 9)}
    folders.brats2018(tmp_path / "data" / "brats2018", names)
    return tmp_path / "data"


def readme_command(name, replaced):
    """A command of the README, with other places."""
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith(f"sg-hub {name} ") and "runs/table2" in line)
    words = shlex.split(line, comments=True)[1:]
    for old, new in replaced.items():
        words = [word.replace(old, new) for word in words]
    return words


@pytest.mark.slow
def test_from_pre_training_to_the_table(data, tmp_path):
    pretraining = tmp_path / "LUNA16-subset0-6"  # as the recipe says
    pretraining.mkdir()
    for number in range(7):
        (pretraining / f"subset{number}").symlink_to(data / "luna16" / f"subset{number}")
    recipe = ["semantic-genesis-3d", f"source={pretraining}", f"run={tmp_path / 'run'}", *SMALL]
    recipe += ["discover.neighbours=3", "discover.tissue=0.1", "pretrain.workers=0", "prepare.spacing=[0.8, 0.8, 2.0]"]
    for step in ("prepare", "autoencode", "discover", "pretrain"):
        assert main([step, *recipe, "--quiet"]) == 0, step
    weights = tmp_path / "run" / "pretraining" / "model"
    seen = sg_hub.from_pretrained(weights).provenance
    assert seen["patients"] == patient_hashes("luna16", [SERIES.format(1000 + n) for n in range(7)])

    out = tmp_path / "table2"
    places = {"/data": str(data), "./my-weights": str(weights), "runs/table2": str(out)}
    quick = ["settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", "settings.patch=[16, 16, 8]"]
    cubes = [f"{name}:grid.size=[16, 16, 8]" for name in ("ncc", "ncs")]
    whole = [f"{name}:grid={{ spacing = [2, 2, 4] }}" for name in ("lcs",)]
    command = readme_command("benchmark", places)
    command[command.index("--trials") + 1] = "2"
    assert main([*command, "--quiet", *quick, *cubes, *whole]) == 0
    rows = read_results(out)
    assert {(row["target"], row["kind"]) for row in rows.values()} == {
        (t, k) for t in TARGETS for k in ("whole", "random")
    }
    assert len(rows) == len(TARGETS) * 2 * 2
    by_target = {row["target"]: row for row in rows.values()}
    assert by_target["ncs"]["seen"] == 7  # known by series, though LIDC-IDRI has other names for the patients
    assert by_target["ncs"]["patients"]["test"] == 6  # of fourteen, none of those seven
    assert by_target["ncc"]["patients"] == {"train": 5, "validation": 2, "test": 3}
    assert {row["unchecked"] for row in rows.values()} == {""}

    assert main(readme_command("report", places)) == 0
    table = (out / "report" / "table.md").read_text(encoding="utf-8")
    assert [column.strip().split(" ")[0] for column in table.splitlines()[0].split("|")[2:-1]] == sorted(TARGETS)
    page = (out / "report" / "report.md").read_text(encoding="utf-8")
    assert "7 patients of the pre-training are trained on, not tested." in page
