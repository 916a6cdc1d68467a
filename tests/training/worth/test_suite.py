import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch

from sg_hub import InvalidInputError, Preprocessing, SemanticGenesis3D, cli
from sg_hub.hub.model_folder import sha256_of
from tests.training.trials.small_trials import organs
from training.targets import load_target
from training.worth.asked import POSITION, Asked, fresh_of
from training.worth.cards import write_card_records
from training.worth.data import Data
from training.worth.measures import probes
from training.worth.measures.classification import NEAREST
from training.worth.measures.landmarks import Landmarks
from training.worth.networks import calibrate, contenders
from training.worth.page import write_page
from training.worth.rows import TABLE, read_rows, row
from training.worth.suite import measured, worth


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worth")
    torch.manual_seed(0)
    SemanticGenesis3D(
        width=2, norm="batch", preprocessing=Preprocessing(spacing=(8, 8, 6), input_size=(16, 16, 8))
    ).save_pretrained(folder / "net")
    organs(folder)
    return folder


def run(place, out, *more, weights=("net", "random:net"), **options):
    names = [f"random:{place / name[7:]}" if name.startswith("random:") else str(place / name) for name in weights]
    return worth("openkbp-organs", names, out, [f"root={place / 'openkbp'}", *more], progress=False, **options)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("training.statistics.patients.RESAMPLES", 50)
    monkeypatch.setattr(probes, "SUBSETS", 2)
    monkeypatch.setattr("training.worth.suite.SUBSETS", 2)
    monkeypatch.setattr(probes, "LABELLED", 2)
    monkeypatch.setattr("training.worth.measures.light_decoder.STEPS", 4)
    monkeypatch.setattr("training.worth.cards.STEPS", 4)


def test_the_suite_measures_once_and_goes_on_where_it_was(place, tmp_path, quick, monkeypatch):
    out = tmp_path / "out"
    page = run(place, out)
    rows = read_rows(out)
    measured = {(row.part, row.what, row.measure, row.weights) for row in rows}
    assert len(rows) == len(measured) == 2 + 2 * (2 * 2 + 3 * 3)
    assert ("zero", "", "landmark error", POSITION) in measured
    assert ("zero", "", "landmark error, voted", POSITION) in measured
    for one in rows:
        assert one.array.shape == (len(one.draws), len(one.patients), 2)
    text = page.read_text(encoding="utf-8")
    for words in (
        POSITION,
        "landmark error (mm, lower is better)",
        "surface dice",
        "Voted: by up to 6 other patients, in 5 draws; intervals and p are over draws and the patients who are",
        "p (Holm)",
        "| spinal_cord | mandible |",
    ):
        assert words in text
    (found,) = out.glob("net-*-openkbp-organs.worth.json")  # what the card of the weights says
    record = json.loads(found.read_text(encoding="utf-8"))
    assert record["sha256"] == sha256_of(place / "net" / "model.safetensors")
    assert [line["name"] for line in record["rows"]][:2] == [
        "decoder: landmark error (mm)",
        "encoder: landmark error (mm)",
    ]
    for line in record["rows"]:
        assert f"| {line['pretrained']} | {line['random']} |" in text
        assert bool(line["position"]) == ("landmark" in line["name"])
    assert "Whether test patients were in pre-training cannot be told" in record["about"]
    assert "is trained on the frozen encoder, 4 steps of one scan of the same labelled patients" in record["about"]
    assert re.fullmatch(r"Better than one random network in \d+ of 13 measures, worse in \d, .*", record["verdict"])
    assert (out / "zero.png").is_file()
    assert (out / "frozen.png").is_file()
    assert not list((out / "maps").glob("*/*"))
    before = (out / TABLE).read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("training.worth.suite.Data", None)  # nothing is looked at again
        assert run(place, out) == page
    assert (out / TABLE).read_bytes() == before
    (out / TABLE).write_bytes(before[: before.rindex(b"\n", 0, -1) + 20])  # killed while it wrote the last line
    run(place, out)
    assert [line["key"] for line in map(json.loads, before.splitlines())] == [row.key for row in read_rows(out)]


def test_rows_are_found_by_what_was_measured_and_on_which_data(place, tmp_path, quick, monkeypatch):
    out, of_zero = tmp_path / "out", {"parts": ["zero"]}
    run(place, out, weights=("net",), **of_zero)
    monkeypatch.setattr("training.worth.suite.Data", None)  # nothing is looked at again
    moved = str(shutil.copytree(place / "net", tmp_path / "moved"))
    asked = ("openkbp-organs", [moved], out, [f"root={place / 'openkbp'}"])
    page = worth(*asked, **of_zero, progress=False).read_text(encoding="utf-8")
    assert f"| | {moved} | {POSITION} |" in page
    found = measured("openkbp-organs", [moved], out, ["root=nowhere"], **of_zero)
    assert {row.weights for row in found} == {moved, POSITION}
    assert measured(*asked, **of_zero, patients=2) == []  # with other settings
    lines = [json.loads(line) for line in (out / TABLE).read_text(encoding="utf-8").splitlines()]
    assert {len(line.pop("data")) + len(line.pop("record_sha256")) for line in lines} == {16 + 64}
    for data, known in ({}, True), ({"data": "of other files"}, False):  # rows that are older than that say nothing
        text = "".join(f"{json.dumps(line | data)}\n" for line in lines)
        (out / TABLE).write_text(text, encoding="utf-8")
        if known:
            run(place, out, weights=("net",), **of_zero)
            continue
        with pytest.raises(TypeError):  # it wants to
            run(place, out, weights=("net",), **of_zero)
        assert worth("openkbp-organs", [moved], out, ["root=nowhere"], **of_zero)  # what cannot be told is shown


def test_feature_maps_of_a_stopped_run_are_of_the_same_grid_weights_and_data(place):
    (one,) = contenders([str(place / "net")], 1)
    other = load_target("openkbp-organs", ["splits.validation=0.3"])
    targets = (load_target("openkbp-organs"), other)
    keys = {Asked(target, one, None).maps(data) for target in targets for data in ("a", "b")}
    assert len(keys) == 4


def test_few_labels_are_the_comparison_in_a_folder_of_its_own(place, tmp_path, quick, monkeypatch):
    asked = []

    def compared(target, weights, out, overrides, **more):
        asked.append((target, weights, out))
        out.mkdir(parents=True)
        (out / "compare.html").write_text("compared", encoding="utf-8")
        return out / "compare.html"

    monkeypatch.setattr("training.worth.suite.compare", compared)
    assert run(place, tmp_path / "alone", parts=["few"]) == tmp_path / "alone" / "few" / "compare.html"
    page = run(place, tmp_path / "both", parts=["zero", "few"])
    names = [str(place / "net"), f"random:{place / 'net'}"]
    assert asked == [("openkbp-organs", names, tmp_path / name / "few") for name in ("alone", "both")]
    assert "[few/compare.html](few/compare.html)" in page.read_text(encoding="utf-8")


def test_what_cannot_be_measured_is_refused_before_the_trials_of_few_labels(place, tmp_path, monkeypatch):
    monkeypatch.setattr("training.worth.suite.compare", lambda *given, **more: pytest.fail("ran the trials first"))
    names = [str(place / "net"), f"random:{place / 'net'}"]
    with pytest.raises(InvalidInputError, match="of a classification the part frozen alone is measured"):
        worth("lidc-candidates", names, tmp_path / "out", parts=["zero", "few"], progress=False)
    assert not (tmp_path / "out").exists()


def test_position_is_the_same_fraction_of_the_scan(place, tmp_path):
    target = load_target("openkbp-organs", [f"root={place / 'openkbp'}"])
    data = Data(target, contenders([str(place / "net")], 1)[0], tmp_path, progress=False)
    assert data.voxel == (8, 8, 6)
    items = [data.parts["test"][0], dataclasses.replace(data.parts["test"][0], name="again")]
    found = Landmarks(data, items, progress=False)
    errors = found.pairs(found.by_position, "")
    assert np.isnan(errors[0, 0]).all()
    assert np.allclose(errors[0, 1], 0, atol=1e-4)


def test_random_networks_are_calibrated_and_drawn_anew():
    torch.manual_seed(0)
    model = SemanticGenesis3D(width=2, norm="batch")
    patches = torch.rand(8, 1, 16, 16, 8)
    calibrate(model, patches, torch.device("cpu"))
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm3d)]
    assert not model.training
    assert all(norm.momentum == 0.1 for norm in norms)
    with torch.no_grad():
        first = model.encoder.levels[0][0].conv(patches)
    assert torch.allclose(norms[0].running_mean, first.mean((0, 2, 3, 4)), atol=1e-5)


def test_weights_keep_their_statistics_unless_those_of_clean_patches_are_asked_for(place):
    means, keys = [], []
    for calibrated in (False, True):
        (one,) = contenders([str(place / "net")], 1, calibrated)
        patches = (torch.rand(1, 16, 16, 8, generator=torch.Generator().manual_seed(n)) for n in range(96))
        network = one.network(patches, torch.device("cpu"))
        means.append(network.encoder.levels[0][0].norm.running_mean)
        keys.append(one.key)
    assert torch.equal(means[0], torch.zeros(2))  # as they were saved
    assert means[1].abs().min() > 0
    assert len(set(keys)) == 2
    (a,), (b,) = (contenders([f"random:{place / 'net'}"], 1, calibrated) for calibrated in (False, True))
    assert a.key == b.key  # random networks have them anyway


def test_a_probe_finds_what_is_linear():
    noise = np.random.default_rng(0)
    x = noise.normal(size=(600, 5)).astype(np.float32)
    y = np.where(x[:, 0] > 1, 1, np.where(x[:, 1] > 1.2, 2, 0))
    probe = probes.fit([(x, y, 0.5)], 4)  # a class that nobody has
    found = (x @ probe.weight.T + probe.bias).argmax(1)
    assert (found == y).mean() > 0.9
    assert set(found) == {0, 1, 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"parts": ["some"]}, "parts some: expected some of zero, frozen"),
        ({"patients": 1}, "patients=1: expected at least 2"),
        ({"draws": 0}, "draws=0"),
        ({"weights": ("net", "net")}, "one is named twice"),
        ({"weights": ("encoder:net",)}, None),
    ],
)
def test_mistakes_are_said_before_the_work(place, tmp_path, options, words):
    if words is None:
        with pytest.raises(InvalidInputError, match="give weights"):
            worth("openkbp-organs", [f"encoder:{place / 'net'}"], tmp_path / "o", [f"root={place / 'openkbp'}"])
        return
    with pytest.raises(InvalidInputError, match=words):
        run(place, tmp_path / "out", **options)


def test_the_command(place, tmp_path, quick, capsys):
    out = tmp_path / "out"
    arguments = ["worth", f"root={place / 'openkbp'}", "--target", "openkbp-organs", "--weights", str(place / "net")]
    code = cli.main([*arguments, "--parts", "zero", "--patients", "2", "--out", str(out), "--quiet"])
    assert (code, capsys.readouterr().out.splitlines()[-1]) == (0, str(out / "worth.md"))
    assert (out / "worth.md").read_text(encoding="utf-8").startswith("# What the weights are worth: ")
    assert {row.part for row in read_rows(out)} == {"zero"}
    shutil.rmtree(out)


def test_rows_of_other_settings_are_not_of_the_comparison(place, tmp_path, quick, monkeypatch):
    out, shown = tmp_path / "out", []
    monkeypatch.setattr("training.worth.suite.write_page", lambda out, rows, *_: shown.append(rows))
    run(place, out, parts=["zero"], weights=("net",))
    run(place, out, "splits.validation=0.2", parts=["zero"], weights=("net",))
    before, after = ({row.key for row in rows} for rows in shown)
    assert len(before) == len(after) == 6  # decoder, encoder, position; of pairs and of votes
    assert not before & after
    assert len(read_rows(out)) == 12


def test_a_classification_is_tested_over_patients_and_has_a_card(place, tmp_path):
    found = contenders([str(place / "net"), f"random:{place / 'net'}"], 1)
    asked = [Asked(load_target("lidc-malignancy"), one, None) for one in found]
    patients, noise = [f"p{number // 2}" for number in range(40)], np.random.default_rng(0).random((1, 40, 1))
    rows = [
        row(
            noise + value,
            key=one.classified[NEAREST],
            part="frozen",
            what=NEAREST,
            measure="auc",
            weights=one.contender.start.init,
            draws=["0"],
            patients=patients,
            classes=["malignant"],
        )
        for one, value in zip(asked, (0.4, 0.3), strict=True)
    ]
    write_card_records(tmp_path, rows, asked)
    (path,) = tmp_path.iterdir()
    record = json.loads(path.read_text(encoding="utf-8"))
    (line,) = record["rows"]
    assert line["difference"].startswith("+0.100 (+0.100")
    assert float(line["p"]) < 0.01
    assert line["pretrained"].endswith("to 1.000)") or float(line["pretrained"][-6:-1]) <= 1
    assert "Better than one random network in 1 of 1 measures" in record["verdict"]
    assert "20 patients test it" in record["about"]


def test_one_of_weights_alone_is_held_against_nothing(tmp_path):
    common = {"key": "0", "part": "frozen", "what": "linear probe", "measure": "iou", "weights": "net"}
    values = np.random.default_rng(0).random((2, 3, 1))
    found = row(values, **common, draws=["0", "1"], patients=["a", "b", "c"], classes=["cord"])
    text = write_page(tmp_path, [found], ["net"], {}, "a task", {}).read_text(encoding="utf-8")
    assert "Give others, or random:NAME, beside them." in text
    assert "p (Holm)" not in text, "a table without a row"
    assert "Voted" not in text


def test_a_random_network_on_another_grid_is_none_to_be_held_against(place, tmp_path):
    torch.manual_seed(0)
    finer = Preprocessing(spacing=(4, 4, 3), input_size=(16, 16, 8))
    SemanticGenesis3D(width=2, norm="batch", preprocessing=finer).save_pretrained(tmp_path / "finer")
    found = contenders([str(place / "net"), f"random:{tmp_path / 'finer'}"], 1)
    write_card_records(tmp_path / "out", [], [Asked(load_target("openkbp-organs"), one, None) for one in found])
    assert not (tmp_path / "out").exists()


def test_of_a_classification_all_networks_are_given_the_same_patches_whatever_their_own_grid(place, tmp_path):
    finer = Preprocessing(spacing=(4, 4, 3), input_size=(32, 32, 16))
    SemanticGenesis3D(width=2, norm="batch", preprocessing=finer).save_pretrained(tmp_path / "finer")
    found = contenders([str(place / "net"), f"random:{tmp_path / 'finer'}"], 1)
    one, random = (Asked(load_target("lidc-malignancy"), contender, None) for contender in found)
    assert fresh_of(one, [one, random]) == [random]


def test_what_statistics_are_calibrated_on_is_part_of_a_key(place):
    small, large = ([f"settings.patch={size}"] for size in ("[16,16,8]", "[24,24,8]"))
    for weights, calibrated, same in (("net", False, True), ("net", True, False), ("random:net", False, False)):
        name = weights.replace("net", str(place / "net"))
        (one,) = contenders([name], 1, calibrated)
        keys = [Asked(load_target("lidc-malignancy", patch), one, None).classified[NEAREST] for patch in (small, large)]
        assert (keys[0] == keys[1]) is same


def test_a_page_says_what_is_without_wrong_references_and_of_how_many_draws(tmp_path):
    common = {"key": "0", "part": "zero", "what": "encoder", "measure": "landmark error", "joint": True}
    values = np.array([[np.nan, 9, 9], [9, np.nan, 1], [9, 1, np.nan]])[..., None]
    people = {"draws": ["a", "b", "c"], "patients": ["a", "b", "c"], "classes": ["cord"]}
    rows = [row(values, **common, **people, weights=name) for name in ("net", "random:net")]
    page = write_page(tmp_path, rows, ["net", "random:net"], {}, "a task", {"a": "cut off", "z": "no test patient"})
    text = page.read_text(encoding="utf-8")
    assert "\nrandom:net is one draw.\n" in text
    _, _, without = text.partition("Without 1 test patients whose reference is known to be wrong (a: cut off):\n")
    assert without.splitlines()[3] == "| zero: encoder: landmark error (mm, lower is better) | 1.0 | 1.0 |"
