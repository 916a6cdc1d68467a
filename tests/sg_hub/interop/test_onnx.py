"""Out of the package: torch.compile and torch.export without graph breaks, ONNX with the same numbers."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch.export import Dim

from sg_hub import InvalidInputError, ReadError, Scan, SemanticGenesis2D, SemanticGenesis3D, SgHubError, cli, embed
from sg_hub.interop import onnx as export
from sg_hub.interop.onnx import export_onnx

HEADS = ["pretext", "restoration", "segmentation", "classification"]
# Each normalisation and each head once in 3D; in 2D an encoder of timm with few layers, and the paper's.
EVERY = [
    *(("3d", "batch_stats", head) for head in HEADS),
    ("3d", "batch", "segmentation"),
    ("3d", "instance", "segmentation"),
    *(("2d", "test_resnet", head) for head in HEADS),
    ("2d", "resnet18", "classification"),
]
EXPORTED_TO_ONNX = [("3d", "batch", "segmentation"), ("2d", "test_resnet", "restoration")]
"""Which is done by way of torch.export, for any batch and size."""


def build(kind, option, head="pretext"):
    torch.manual_seed(0)
    if kind == "3d":
        return SemanticGenesis3D(width=2, norm=option, head=head, num_classes=3).eval()
    return SemanticGenesis2D(encoder=option, decoder_width=2, head=head, num_classes=3).eval()


def inputs(kind):
    """Batches of two sizes."""
    shapes = [(2, 1, 16, 32, 24), (3, 1, 32, 16, 16)] if kind == "3d" else [(2, 1, 64, 96), (3, 1, 96, 64)]
    return [torch.rand(shape, generator=torch.Generator().manual_seed(1)) for shape in shapes]


def same(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


# -- torch.compile and torch.export -----------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(("kind", "option", "head"), EVERY)
def test_compiled_without_graph_breaks(kind, option, head):
    model, (x, _) = build(kind, option, head), inputs(kind)
    with torch.inference_mode():
        same(torch.compile(model, fullgraph=True, backend="eager")(x), model(x))


@pytest.mark.slow
def test_compiled_encoder_training_and_padding():
    model, (x, _) = build("3d", "batch_stats", "classification"), inputs("3d")
    same(torch.compile(model.encoder, fullgraph=True, backend="eager")(x), model.encoder(x))
    odd = x[..., :-3]
    same(torch.compile(model, fullgraph=True, backend="eager")(odd, pad=True), model(odd, pad=True))
    torch.compile(model.train(), fullgraph=True, backend="aot_eager")(x).sum().backward()
    assert all(p.grad is not None for p in model.encoder.parameters())


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="no C++ compiler")
def test_compiled_to_machine_code():
    level, x = build("3d", "batch_stats").encoder.levels[0], inputs("3d")[0]
    with torch.inference_mode():
        same(torch.compile(level, fullgraph=True)(x), level(x))


def dynamic(model):
    """Any batch, and any size that the network takes."""
    names, stride = "abc"[: model.NDIM], model.encoder.strides[-1]
    sizes = {2 + axis: stride * Dim(name, min=1, max=64) for axis, name in enumerate(names)}
    return {"x": {0: Dim("batch", min=1, max=64), **sizes}}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "option", "head"), [each for each in EVERY if each not in EXPORTED_TO_ONNX])
def test_exported_for_any_batch_and_size(kind, option, head):
    model = build(kind, option, head)
    first, second = inputs(kind)
    program = torch.export.export(model, (first,), dynamic_shapes=dynamic(model)).module()
    with torch.no_grad():
        for x in (first, second, first[:1]):
            same(program(x), model(x))


# -- ONNX -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    build("3d", "batch_stats").save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("change", [torch.nn.Module.half, torch.nn.Module.double, torch.nn.DataParallel])
def test_a_network_of_another_precision_or_in_another(change, tmp_path):
    model = change(build("3d", "batch", "segmentation"))
    before = next(model.parameters()).dtype
    assert export_onnx(model, tmp_path / "net.onnx", size=(16, 16, 16)) < 1e-3
    assert next(model.parameters()).dtype == before


@pytest.mark.slow
def test_the_command_writes_what_onnxruntime_runs_alike(folder, tmp_path, capsys):
    import onnx
    import onnxruntime

    file = tmp_path / "net.onnx"
    assert cli.main(["export", str(folder), "--onnx", str(file), "--size", "16", "16", "8"]) == 0
    out = capsys.readouterr().out
    assert float(out.split("onnxruntime: ")[1].split()[0]) < 1e-4
    session = onnxruntime.InferenceSession(str(file))
    x = torch.rand(5, 1, 16, 16, 8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = build("3d", "batch_stats")(x)
    found = session.run(["restoration", "pattern_logits"], {"input": x.numpy()})
    same(tuple(torch.from_numpy(value) for value in found), tuple(wanted))
    metadata = {entry.key: entry.value for entry in onnx.load(file).metadata_props}
    assert json.loads(metadata["sg_hub_config"])["preprocessing"]["low"] == -1000
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]


# Beside the command below (pretext); `benchmarks.onnx_heads` measures every head in 3D and in 2D.
IN_ONNX = [
    (("3d", "batch"), "segmentation", ["logits"]),
    (("3d", "instance"), "embedding", ["embedding"]),
    (("2d", "test_resnet"), "restoration", ["restoration"]),
    (("2d", "test_resnet"), "features", [f"features_{level}" for level in range(5)]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "head", "outputs"), IN_ONNX, ids=str)
def test_any_size_in_onnx(tmp_path, kind, head, outputs):
    import onnxruntime

    embedding = head == "embedding"
    model = build(*kind, "features" if embedding else head).train()
    model.encoder.eval()  # frozen
    assert export_onnx(model, tmp_path / "net.onnx", embedding=embedding) < 1e-4
    assert model.training
    assert not any(module.training for module in model.encoder.modules())
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    assert [output.name for output in session.get_outputs()] == outputs
    for x in inputs(kind[0]):
        with torch.inference_mode():
            wanted = model.eval()(x)
        if embedding:
            wanted = wanted[-1].mean((2, 3, 4))
        found = session.run(None, {"input": x.numpy()})
        for one, other in zip(found, [wanted] if isinstance(wanted, torch.Tensor) else wanted, strict=True):
            same(torch.from_numpy(one), other)


def test_the_embedding_of_a_patch_is_that_of_embed():
    from sg_hub.interop.onnx import _Network

    model = build("3d", "instance", "features")
    scan = Scan(np.random.default_rng(0).normal(0, 300, (1, 64, 64, 32)).astype(np.float32))  # one patch
    with torch.inference_mode():
        found = _Network(model, embedding=True)(model.preprocess(scan))[0]
    np.testing.assert_allclose(found, embed(model, scan, progress=False), atol=1e-5)


@pytest.mark.slow
def test_other_outputs_than_the_model_are_an_error_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_TOLERANCE", -1)
    with pytest.raises(SgHubError, match="other outputs"):
        export_onnx(build("3d", "batch", "classification"), tmp_path / "net.onnx", size=(8, 8, 8))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_that_are_too_large_for_the_file_are_beside_it(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr("torch.onnx._internal.exporter._onnx_program._LARGE_MODEL_THRESHOLD", 1, raising=False)
    export_onnx(build("3d", "batch", "classification"), tmp_path / "net.onnx", size=(8, 8, 8))
    assert {path.name for path in tmp_path.iterdir()} <= {"net.onnx", "net.onnx.data"}
    session = onnxruntime.InferenceSession(str(tmp_path / "net.onnx"))
    assert session.run(None, {"input": np.zeros((1, 1, 8, 8, 8), np.float32)})[0].shape == (1, 3)


@pytest.mark.parametrize(
    ("file", "size", "error", "words"),
    [
        ("net.pt", None, InvalidInputError, r"\.onnx"),
        ("no/net.onnx", None, ReadError, "make it first"),
        ("net.onnx", (16, 16), InvalidInputError, "give 3 whole numbers that 8 divides"),
        ("net.onnx", (16, 16, 12), InvalidInputError, "that 8 divides"),
    ],
)
def test_impossible_files_and_sizes(tmp_path, file, size, error, words):
    with pytest.raises(error, match=words):
        export_onnx(build("3d", "batch_stats"), tmp_path / file, size=size)


def test_what_is_not_installed_is_said(tmp_path, monkeypatch, folder, capsys):
    monkeypatch.setattr(export, "_installed", lambda name: name != "onnxscript")
    assert cli.main(["export", str(folder), "--onnx", str(tmp_path / "net.onnx")]) == 2
    assert "pip install 'sg_hub[onnx]'" in capsys.readouterr().err
