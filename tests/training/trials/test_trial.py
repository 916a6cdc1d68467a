"""A trial: trained on its patients, chosen on others, tested once on others again, in 2D and 3D."""

import numpy as np
import pytest
import torch

import sg_hub
from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.errors import InvalidInputError, ReadError
from tests.training.conftest import SAMPLES
from tests.training.targets.target_folders import chestxray14, lidc_patches, target_at, write_csv
from training.data.leakage import patient_hashes
from training.targets import in_parts
from training.trials import training as training_module
from training.trials import trial as module
from training.trials.batches import Batches
from training.trials.initialisation import kind_of, look_up, name_of
from training.trials.item_arrays import ItemArrays
from training.trials.prepared_task import find_items, read_items
from training.trials.training import dice_cross_entropy
from training.trials.trial import Trial, run_trial

QUICK = ("settings.steps=2", "settings.validate_every=1", "settings.batch_size=2", 'settings.precision="float32"')
SMALL = ("grid.size=[16, 16, 8]", "crop=16")
ORGANS = ("pt_201", "pt_207", "pt_222", "pt_225", "pt_229", "pt_230")  # cord and mandible are drawn in these


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lidc")
    lidc_patches(folder)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small untrained network, as if it had been pre-trained on one patient of OpenKBP."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(99)
    model = SemanticGenesis3D(
        width=2,
        num_classes=3,
        norm="batch",
        preprocessing=Preprocessing(spacing=(8, 8, 6), input_size=(16, 16, 8)),
        provenance={"patients": patient_hashes("openkbp", ["pt_201"])},
    )
    model.save_pretrained(folder / "small3d")
    flat = SemanticGenesis2D(encoder="lcnet_050", decoder_width=4, preprocessing=ImagePreprocessing())
    flat.save_pretrained(folder / "small2d")
    return folder


def organs(tmp_path, test=ORGANS[4:]):
    """Whole CT of the arrays, in the form that the target expects."""
    root = tmp_path / "openkbp"
    root.mkdir()
    for kind in ("ct", "labels"):
        (root / kind).symlink_to(SAMPLES / kind)
    rows = [(name, "validation-pats" if name in test else "train-pats", 9, 9) for name in ORGANS]
    rows += [("pt_999", "train-pats", 9, 9), ("pt_998", "train-pats", 0, 9)]
    write_csv(root / "patients.csv", ("patient", "split", "spinal_cord", "mandible"), rows)
    return target_at(
        "openkbp-organs", root, *QUICK, "settings.patch=[16, 16, 8]", "grid.spacing=[8, 8, 6]", "splits.validation=0.25"
    )


def trial_of(target, tmp_path, init, number=0, fraction=1.0, checkpoint=None):
    start = look_up(str(init))
    task = read_items(find_items(target, [start]), tmp_path, progress=False)
    return run_trial(Trial(task, start, number, fraction), checkpoint, progress=False)


def test_organs_in_whole_scans(weights, tmp_path):
    target = organs(tmp_path)
    found = target.split_items()
    assert found.skipped["pt_998"] == "spinal_cord not drawn"
    assert "is not there" in found.skipped["pt_999"]
    trial = trial_of(target, tmp_path, weights / "small3d")
    assert [row["item"] for row in trial.test.by_item] == list(ORGANS[4:])
    assert set(trial.test.values) == {f"{m}{c}" for m in ("iou", "dice") for c in ("", " spinal_cord", " mandible")}
    assert trial.test.value == trial.test.values["iou"]
    assert [step for step, _, _ in trial.curve] == [1, 2]
    label = ItemArrays(target, tmp_path / "items")[found.items[0]][1]
    assert label.unique().tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["lidc-candidates", "lidc-malignancy", "lidc-nodules"])
def test_patches_in_3d(name, patches, weights, tmp_path):
    target = target_at(name, patches, *QUICK, *SMALL)
    trial = trial_of(target, tmp_path, weights / "small3d")
    test = in_parts(target.split_items().items)["test"]
    assert [row["item"] for row in trial.test.by_item] == [item.name for item in test]
    assert 0 <= trial.test.value <= 1
    if target.head == "classification":
        assert all(sum(row["probabilities"]) == pytest.approx(1, abs=1e-4) for row in trial.test.by_item)


@pytest.mark.parametrize("name", ["lidc-candidates-2d", "lidc-nodules-2d"])
def test_slices_of_patches_in_2d(name, patches, weights, tmp_path):
    target = target_at(name, patches, *QUICK, "grid.size=[32, 32, 8]", "crop=16")
    trial = trial_of(target, tmp_path, weights / "small2d")
    assert len(trial.test.by_item) == len(in_parts(target.split_items().items)["test"])
    with pytest.raises(InvalidInputError, match=r"takes a 2D network, and none of these is one: .*small3d"):
        trial_of(target, tmp_path, weights / "small3d")


def test_trials_are_the_same_again_and_differ_by_number(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    first, again, other = (trial_of(target, tmp_path, weights / "small3d", trial) for trial in (0, 0, 1))
    assert first.curve == again.curve
    assert first.test.by_item == again.test.by_item
    assert first.curve != other.curve


def test_the_best_step_is_kept_and_the_test_part_read_once(patches, weights, tmp_path, monkeypatch):
    reached = iter([0.2, 0.9, 0.1])
    looked, states = [], []
    real = module.score

    def watched(network, task, items):
        looked.append({item.split for item in items})
        states.append(network.state_dict()["segmentation.weight"].clone())
        scores = real(network, task, items)
        scores.value = next(reached) if looked[-1] == {"validation"} else scores.value
        return scores

    monkeypatch.setattr(module, "score", watched)
    monkeypatch.setattr(training_module, "score", watched)
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, "settings.steps=3")
    trial = trial_of(target, tmp_path, weights / "small3d")
    assert looked == [{"validation"}, {"validation"}, {"validation"}, {"test"}]
    assert trial.best_step == 2
    assert torch.equal(states[3], states[1])
    assert not torch.equal(states[3], states[2])


def test_a_fraction_of_the_labels_leaves_validation_and_test_whole(patches, weights, tmp_path):
    target = target_at("lidc-candidates", patches, *QUICK, *SMALL)
    whole = in_parts(target.split_items().items)
    part = trial_of(target, tmp_path, weights / "small3d", fraction=0.25).parts
    assert part["test"] == whole["test"]
    assert part["validation"] == whole["validation"]
    assert len({item.patient for item in part["train"]}) == 3  # a quarter of 9 patients, none cut


def test_every_initialisation_sees_the_same_batches(patches, weights, tmp_path, monkeypatch):
    seen = []
    real = Batches.draw
    monkeypatch.setattr(Batches, "draw", lambda *a: seen.append(real(*a)) or seen[-1])
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    for init in (weights / "small3d", f"random:{weights / 'small3d'}"):
        trial_of(target, tmp_path, init)
    for step in range(2):
        assert torch.equal(seen[step][0], seen[2 + step][0])


# -- initialisations -------------------------------------------------------------------------------------------------


def test_random_and_encoder_take_what_they_say(patches, weights):
    target = target_at("lidc-nodules", patches, *SMALL)
    name = str(weights / "small3d")
    starts = [look_up(init) for init in (name, f"random:{name}", f"encoder:{name}")]
    whole, random, encoder = (start.network(target, 0) for start in starts)
    loaded = sg_hub.from_pretrained(name).state_dict()
    deep, decoder = "encoder.levels.0.0.conv.weight", "decoder.levels.0.up.weight"
    assert torch.equal(whole.state_dict()[deep], loaded[deep])
    assert torch.equal(whole.state_dict()[decoder], loaded[decoder])
    assert torch.equal(encoder.state_dict()[deep], loaded[deep])
    assert not torch.equal(encoder.state_dict()[decoder], loaded[decoder])
    assert not torch.equal(random.state_dict()[deep], loaded[deep])
    assert random.provenance == {"patients": []}
    assert encoder.provenance == whole.provenance
    assert [kind_of(init) for init in (name, f"random:{name}", f"encoder:{name}")] == ["whole", "random", "encoder"]
    assert name_of(f"random:{name}") == name
    for network, start in zip((whole, random, encoder), starts, strict=True):
        assert network.class_names == ("background", "nodule")
        assert (network.head_name, network.num_classes) == ("segmentation", 2)
        assert dict(start.provenance) == network.provenance


def test_a_network_is_built_once_and_weights_are_looked_at_without_being_built(patches, weights, tmp_path, monkeypatch):
    built = []
    real = SemanticGenesis3D.__init__

    def counted(self, *arguments, **settings):
        real(self, *arguments, **settings)
        built.append(next(self.parameters()).device.type)

    monkeypatch.setattr(SemanticGenesis3D, "__init__", counted)
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL)
    for init in (weights / "small3d", f"random:{weights / 'small3d'}", f"encoder:{weights / 'small3d'}"):
        built.clear()
        trial_of(target, tmp_path, init)
        assert built.count("cpu") == 1
        assert built[-1] == "cpu"  # the others were on torch's meta device, without memory


def test_findings_make_a_network_of_several_labels(tmp_path, weights):
    chestxray14(tmp_path)
    names = ("Effusion", "Mass")
    target = target_at("dxc", tmp_path, f"classes={list(names)}".replace("'", '"'), "grid.size=[32, 32]")
    network = look_up(str(weights / "small2d")).network(target, 0)
    assert (network.class_names, network.multilabel) == (names, True)


def test_imagenet_weights_are_of_2d_networks_and_none_of_the_pretrained_ones(patches, weights, monkeypatch):
    target = target_at("lidc-nodules-2d", patches, "grid.size=[32, 32, 8]", "crop=16")
    imagenet = look_up(f"imagenet:{weights / 'small2d'}")
    with pytest.raises(ReadError):  # no test may download them
        imagenet.network(target, 0)

    def filled(encoder, name, source):
        for parameter in encoder.parameters():
            torch.nn.init.constant_(parameter, 0.25)
        return f"timm/{name}.{source}", (0.449, 0.226)

    monkeypatch.setattr("sg_hub.models.semantic_genesis.load_encoder_weights", filled)
    network = imagenet.network(target, 0)
    assert all(bool((parameter == 0.25).all()) for parameter in network.encoder.parameters())
    assert network.provenance == {"patients": [], "encoder_weights": "timm/lcnet_050.imagenet"}
    assert (network.encoder.mean, network.encoder.std) == (0.449, 0.226)
    with pytest.raises(InvalidInputError, match="2D networks only"):
        look_up(f"imagenet:{weights / 'small3d'}").check_fits(target_at("lidc-nodules", patches, *SMALL))


def test_a_fingerprint_is_of_the_weights_not_of_their_folder(weights, tmp_path):
    name = str(weights / "small3d")
    sg_hub.from_pretrained(name).save_pretrained(tmp_path / "copy")
    other = sg_hub.from_pretrained(name)
    with torch.no_grad():
        other.encoder.levels[0][0].conv.weight.add_(1)
    other.save_pretrained(tmp_path / "other")
    assert look_up(name).fingerprint == look_up(str(tmp_path / "copy")).fingerprint
    assert look_up(name).fingerprint != look_up(str(tmp_path / "other")).fingerprint
    assert look_up(f"random:{name}").fingerprint == look_up(f"random:{tmp_path / 'other'}").fingerprint
    assert len({look_up(f"{kind}{name}").fingerprint for kind in ("", "random:", "encoder:")}) == 3


def test_patches_that_the_network_cannot_take_are_named(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, "grid.size=[20, 16, 8]")
    with pytest.raises(InvalidInputError, match="multiples of 8"):
        trial_of(target, tmp_path, weights / "small3d")


# -- leakage ---------------------------------------------------------------------------------------------------------


def test_test_patients_that_were_pre_trained_on_are_refused(weights, tmp_path):
    target = organs(tmp_path, test=("pt_201", "pt_207"))
    for init in ("", "encoder:"):
        with pytest.raises(InvalidInputError, match=r"1 test patients .*openkbp/pt_201"):
            trial_of(target, tmp_path, f"{init}{weights / 'small3d'}")
    trial_of(target, tmp_path, f"random:{weights / 'small3d'}")  # no weights, no leak


def test_missing_data_are_named(weights, tmp_path):
    with pytest.raises(ReadError, match="not there"):
        trial_of(target_at("lidc-nodules", tmp_path / "nowhere"), tmp_path, weights / "small3d")


# -- loss ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spatial", [(2, 2, 2), (4, 4)])
def test_loss_on_known_masks(spatial):
    labels = torch.zeros(1, *spatial, dtype=torch.long)
    labels[0, 0] = 1
    right = torch.nn.functional.one_hot(labels, 2).movedim(-1, 1).float() * 40
    assert float(dice_cross_entropy(right, labels)) < 1e-4
    assert float(dice_cross_entropy(-right, labels)) > 10


def test_a_loss_that_is_no_number_ends_the_trial(patches, weights, tmp_path):
    target = target_at("lidc-nodules", patches, *QUICK, *SMALL, "settings.steps=6", "settings.lr=1e18")
    with pytest.raises(InvalidInputError, match=r"smaller settings\.lr"):
        trial_of(target, tmp_path, weights / "small3d")


def test_a_small_network_learns_the_task(patches, weights, tmp_path):
    """The blobs of the fixture can be told apart by anything that learns at all."""
    quick = ('settings.precision="float32"', "settings.steps=60", "settings.validate_every=20", "settings.batch_size=8")
    for name, least in (("lidc-nodules", 0.7), ("lidc-candidates", 0.95)):
        target = target_at(name, patches, *quick, *SMALL, "settings.lr=0.02", "settings.shift=0")
        trial = trial_of(target, tmp_path, f"random:{weights / 'small3d'}")
        assert trial.test.value > least
        assert np.mean([loss for _, _, loss in trial.curve[-1:]]) < trial.curve[0][2]
