"""Maps of whole scans and images: grids, memory, precisions, and what is refused."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sg_hub import (
    Image,
    ImagePreprocessing,
    SemanticGenesis2D,
    SemanticGenesis3D,
    classify,
    embed,
    load_image,
    load_scan,
    predict,
)
from sg_hub.errors import InvalidInputError
from sg_hub.io.scan import Scan
from tests.sg_hub.inference.networks import Bands, Identity, make_2d, make_image, make_model, make_scan
from tests.support.folders import DEMO_SAMPLES
from tests.support.memory import peak_growth

XRAYS = sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))
CT = DEMO_SAMPLES / "openkbp" / "ct" / "pt_201.nii.gz"


def probabilities(model: Bands, scan: Scan) -> Tensor:
    """What `predict` must give: the network at once over the whole scan, interpolated by torch."""
    logits = model(model.preprocessing.apply(scan))
    found = logits.softmax(1) if model.classes > 1 else logits.sigmoid()
    return model.preprocessing.restore_grid(found, scan)[0]


# Windows


def test_the_order_of_batches_does_not_matter():
    scan, model = make_scan(), Bands(4)
    one = predict(model, scan, batch_size=1, progress=False)
    assert np.allclose(one, predict(model, scan, batch_size=64, progress=False), atol=1e-6)


def test_the_usual_type_of_new_tensors_does_not_matter():
    scan, model = make_scan(), Bands(4)
    expected = predict(model, scan, progress=False)
    torch.set_default_dtype(torch.float64)
    try:
        found = predict(model, scan, progress=False)
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == np.float32
    assert np.allclose(found, expected, atol=1e-5)


def test_an_identity_network_gives_the_scan():
    scan = make_scan()
    model = Identity().train()
    found = predict(model, scan, progress=False)
    assert found.shape == (1, *scan.size)
    assert found.dtype == np.float32
    assert np.allclose(found * 2000 - 1000, scan.array, atol=0.02)
    # (19, 14, 23) in windows of 8 at steps of 4: 4 * 3 * 5, no more.
    assert model.seen == 60


# The scan's grid


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 1.0), (1.7, 2.3, 1.2), (0.6, 0.8, 0.7), (2.5, 0.5, 30.0)])
def test_results_are_on_the_scans_grid(classes, spacing):
    scan = make_scan(smooth=True)
    model = Bands(classes, spacing=spacing)
    expected = probabilities(model, scan)
    found = predict(model, scan, progress=False)
    assert found.shape == (classes, *scan.size)
    assert np.allclose(found, expected.numpy(), atol=1e-5)

    labels = predict(model, scan, output="labels", progress=False)
    assert labels.shape == scan.size
    assert labels.dtype == np.uint8
    if classes == 1:
        sure = (expected[0] - 0.5).abs() > 1e-4
        wanted = (expected[0] > 0.5).numpy()
    else:
        best, second = expected.topk(2, dim=0).values
        sure = best - second > 1e-4
        wanted = expected.argmax(0).numpy()
    assert sure.float().mean() > 0.95
    assert np.array_equal(labels[sure.numpy()], wanted[sure.numpy()])
    assert len(np.unique(labels)) > 1


def test_many_classes_need_two_bytes():
    model = Bands(300)
    assert predict(model, make_scan((8, 8, 8)), output="labels", progress=False).dtype == np.int16


def test_a_result_can_be_saved(tmp_path):
    scan = make_scan()
    labels = predict(Bands(3), scan, output="labels", progress=False)
    assert scan.save(labels, tmp_path / "labels.nii.gz").is_file()


# Memory


@pytest.mark.parametrize("spacing", [None, (1.5, 1.0, 1.0)])
def test_labels_take_little_memory_whatever_the_number_of_classes(spacing):
    """16 MB of voxels: the probabilities of 16 classes would take 256 MB, a slab of 16 planes takes 4 MB. Growth is
    50 to 100 MB, by what the allocator holds of earlier tests, and 300 with the probabilities."""
    scan = make_scan((1024, 64, 64))
    model = Bands(16, spacing=spacing)
    settings = {"patch_size": (16, 64, 64), "batch_size": 1, "progress": False}
    predict(model, make_scan((64, 64, 64)), output="labels", **settings)  # what torch sets up once
    assert peak_growth(lambda: predict(model, scan, output="labels", **settings)) < 150
    # The measure does see the probabilities where they are asked for.
    assert peak_growth(lambda: predict(model, scan, output="probabilities", **settings)) > 200


# Networks of the package


def test_networks_of_the_package_run_over_a_small_scan(capsys):
    scan = make_scan((13, 20, 9))
    assert predict(make_model(head="pretext"), scan).shape == (1, 13, 20, 9)
    assert "window" in capsys.readouterr().err
    found = predict(make_model(head="segmentation"), scan, progress=False)
    assert capsys.readouterr().err == ""
    assert found.shape == (3, 13, 20, 9)
    assert np.allclose(found.sum(0), 1, atol=1e-5)


def test_the_mode_of_every_module_is_put_back():
    model = make_model(head="segmentation").train()
    model.encoder.eval()
    before = [module.training for module in model.modules()]
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    predict(model, make_scan((16, 16, 16)), progress=False)
    embed(model, make_scan((16, 16, 16)), progress=False)
    assert [module.training for module in model.modules()] == before
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_the_mode_is_put_back_after_an_error():
    model = make_model(head="segmentation", in_chans=2).train()
    with pytest.raises(InvalidInputError, match="in_chans"):
        predict(model, make_scan((16, 16, 16)), progress=False)
    assert all(module.training for module in model.modules())


# What is refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap": 1.0}, r"overlap=1\.0: expected a share from 0 to below 1"),
        ({"overlap": -0.1}, "overlap=-0.1"),
        ({"overlap": "half"}, "overlap='half'"),
        ({"overlap": True}, "overlap=True"),
        ({"overlap": 10**400}, "overlap=1000"),
        ({"batch_size": True}, "batch_size=True"),
        ({"batch_size": 0}, "batch_size=0: expected a whole number of at least 1"),
        ({"patch_size": (16, 16)}, r"patch_size=\(16, 16\): expected three whole numbers"),
        ({"patch_size": (16, 16, 13)}, r"multiple of 8, for instance \(16, 16, 16\)"),
        ({"output": "logits"}, "output='logits': expected one of probabilities, labels"),
        ({"device": "abacus"}, "device='abacus' cannot be used .*: try 'cpu'"),
    ],
)
def test_impossible_settings(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        predict(make_model(head="segmentation"), make_scan(), progress=False, **settings)


def test_settings_of_numpy_are_numbers():
    model, scan = make_model(head="segmentation"), make_scan()
    given = {"overlap": np.float32(0.25), "batch_size": np.int64(2), "patch_size": np.array([16, 16, 16])}
    expected = predict(model, scan, overlap=0.25, batch_size=2, patch_size=(16, 16, 16), progress=False)
    assert np.array_equal(predict(model, scan, progress=False, **given), expected)


def test_models_and_scans_that_cannot_be_used():
    scan = make_scan((16, 16, 16))
    with pytest.raises(InvalidInputError, match=r"classification head has not: call sg_hub\.classify.*sg_hub\.embed"):
        predict(make_model(head="classification"), scan)
    with pytest.raises(InvalidInputError, match=r"pretext head .* knows no labels.*head='segmentation'"):
        predict(make_model(head="pretext"), scan, output="labels")
    with pytest.raises(InvalidInputError, match=r"expected a Scan or an Image, not a ndarray: sg_hub\.load_scan"):
        predict(make_model(head="segmentation"), scan.array)  # type: ignore[arg-type]
    bare = Bands(2)
    del bare.preprocessing
    with pytest.raises(InvalidInputError, match=r"Bands has no preprocessing: .*sg_hub\.Preprocessing"):
        predict(bare, scan)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("head", ["segmentation", "pretext", "classification"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_models_in_other_precisions(dtype, head, ndim):
    model, scan = (make_model(head=head), make_scan((32, 16, 16))) if ndim == 3 else (make_2d(head=head), make_image())
    results = []
    for each in (model, copy.deepcopy(model).to(dtype)):
        work = classify if head == "classification" else predict
        found = work(each, scan, progress=False)
        results.append([np.array(list(found.values())) if isinstance(found, dict) else found])
        results[-1].append(embed(each, scan, progress=False))
    assert results[1][1].dtype == np.float32
    for exact, rounded in zip(*results, strict=True):
        assert np.isfinite(rounded).all()
        assert np.abs(exact - rounded).max() < 0.1 * max(1.0, float(np.abs(exact).max()))
    assert next(model.parameters()).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_probabilities_of_half_precision_add_up_to_one(dtype):
    model = make_model(head="segmentation")
    for parameter in model.segmentation.parameters():  # or all classes would be nearly as probable
        nn.init.normal_(parameter)
    found = predict(model.to(dtype), make_scan((32, 16, 16)), progress=False)
    np.testing.assert_allclose(found.sum(0), 1, atol=1e-5)


def test_a_model_that_several_devices_share():
    model, scan = make_model(head="segmentation"), make_scan((16, 16, 16))
    wrapped = nn.DataParallel(model)
    assert np.array_equal(predict(wrapped, scan, progress=False), predict(model, scan, progress=False))
    assert np.array_equal(embed(wrapped, scan, progress=False), embed(model, scan, progress=False))
    assert wrapped.training


def test_a_recommended_patch_that_the_network_does_not_take_is_made_larger():
    model, scan = make_model(head="segmentation"), make_scan((21, 13, 17))
    model.preprocessing = dataclasses.replace(model.preprocessing, input_size=(12, 13, 8))
    wanted = predict(model, scan, patch_size=(16, 16, 8), progress=False)
    assert np.array_equal(predict(model, scan, progress=False), wanted)
    flat = make_2d(head="segmentation")
    flat.preprocessing = ImagePreprocessing(input_size=(50, 70))
    assert predict(flat, make_image()).shape == (3, 48, 100)


# Images


def xray_model(**options):
    torch.manual_seed(0)
    settings = {"encoder": "lcnet_035", "decoder_width": 2, "num_classes": 5}
    settings["preprocessing"] = ImagePreprocessing(input_size=(64, 64))
    return SemanticGenesis2D(**(settings | options)).eval()


def test_predict_and_embed_on_the_image_s_own_grid():
    image = load_image(XRAYS[0])
    assert predict(xray_model(), image).shape == (1, *image.size)
    assert predict(xray_model(head="segmentation"), image).shape == (5, *image.size)
    labels = predict(xray_model(head="segmentation"), image, output="labels")
    assert labels.shape == image.size
    assert labels.dtype == np.uint8
    assert predict(xray_model(head="segmentation", num_classes=1), image, output="labels").max() <= 1
    features = embed(xray_model(), image)
    assert features.shape == (xray_model().encoder.channels[-1],)
    repeated = embed(xray_model(in_chans=3), image)  # a grey image is repeated
    assert repeated.shape == features.shape


def test_the_place_of_a_label_survives_the_way_there_and_back():
    class Bright(torch.nn.Module):
        head_name, NDIM, in_chans = "segmentation", 2, 1
        preprocessing = ImagePreprocessing(input_size=(64, 64))

        def forward(self, x, pad=False):
            return torch.cat([0.5 - x, x - 0.5], 1) * 100

    array = np.zeros((1, 200, 120), np.float32)
    array[0, 20:60, 30:100] = 1
    labels = predict(Bright(), Image(array), output="labels")
    overlap = (labels == array[0]).mean()
    assert overlap > 0.99


def test_a_scan_for_a_2d_model_and_an_image_for_a_3d_model():
    image, scan = load_image(XRAYS[0]), load_scan(CT)
    solid = SemanticGenesis3D(width=2, norm="batch").eval()
    for work in (predict, embed):
        with pytest.raises(InvalidInputError, match="takes images"):
            work(xray_model(), scan)
        with pytest.raises(InvalidInputError, match="takes scans"):
            work(solid, image)
    with pytest.raises(InvalidInputError, match="takes an Image"):
        xray_model().preprocess(scan)
    with pytest.raises(InvalidInputError, match="takes a Scan"):
        solid.preprocess(image)


def test_patches_are_for_scans():
    with pytest.raises(InvalidInputError, match="patch_size"):
        predict(xray_model(), load_image(XRAYS[0]), patch_size=(32, 32))


def test_a_colour_image_for_a_grey_model():
    with pytest.raises(InvalidInputError, match=r"3 channels.*in_chans=3"):
        predict(xray_model(), Image(np.random.default_rng(0).random((3, 64, 64), dtype=np.float32)))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_no_number_is_taken_for_no_class(value):
    """As of a training that diverged; the largest of NaN is the first class."""
    scan = make_scan()
    for use, head in ((predict, "segmentation"), (classify, "classification"), (embed, "features")):
        model = make_model(head=head, num_classes=0 if head == "features" else 2)
        with torch.no_grad():
            for one in model.parameters():
                one.fill_(value)
        with pytest.raises(InvalidInputError, match=r"gives NaN or infinite numbers: .*diverged"):
            use(model, scan, progress=False)


def test_a_last_layer_of_zeros_is_not_taken_for_an_answer():
    model = make_model(head="segmentation")
    for value in model.segmentation.parameters():
        torch.nn.init.zeros_(value)
    with pytest.raises(InvalidInputError, match="has not been trained"):
        predict(model, make_scan((13, 20, 9)), output="labels")
