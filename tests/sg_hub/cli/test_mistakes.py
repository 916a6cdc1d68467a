"""What everybody does wrong once: each is one line that names what was given and says what to do, and exit code 2.

Every mistake is made in several ways and by several commands, by a user who has scans, X-rays, label maps and weights.
"""

import re
import shlex
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from PIL import Image

from sg_hub import ImagePreprocessing, Preprocessing, SemanticGenesis2D, SemanticGenesis3D
from sg_hub.cli.parser import make_parser

SEGMENTATION = """
    reader = "folder"
    name = "mine"
    root = "{root}"
    images = "images"
    labels = "labels"
    head = "segmentation"
    metric = "dice"
    {more}
"""
CLASSES = 'classes = ["cord", "jaw"]'
XRAYS = """
    reader = "folder"
    name = "xrays"
    root = "xrays"
    images = "."
    table = "../xrays.csv"
    head = "classification"
    metric = "auc"
    classes = ["a", "b"]
"""
RECIPE = """
    base = "semantic-genesis-3d-tiny"
    name = "mine"
    source = "{source}"
    run = "run"
    split = "{split}"
    {more}
"""
GRID = (16, 16, 12)

MISTAKES = {
    "a wrong path": [
        ("segment gone.nii.gz --model {w}/segmentation", "gone.nii.gz: no such file", "check the path"),
        ("segment {w}/ct.nii.gz --model ./gone", "./gone: no such folder", "`sg-hub models`"),
        ("classify {w}/text.nii.gz --model {w}/classification", "text.nii.gz is truncated or damaged", "again"),
        ("embed {w}/cl.nii.gz", "did you mean", "ct.nii.gz"),
        ("locate {w}/ct.nii.gz --at 20,20,20 gone.nii.gz --model {w}/pretext", "gone.nii.gz: no such file", "check"),
        ("propagate {w}/ct.nii.gz gone.nii.gz {w}/ct.nii.gz --model {w}/pretext", "gone.nii.gz: no such", "check"),
        ("convert gone.pt out", "gone.pt does not exist", "expected"),
        ("export ./gone --onnx n.onnx", "./gone: no such folder", "`sg-hub models`"),
        ("compare-methods gone --out o", "no grid 'gone'", "methods-3d-tiny"),
        ("compare-methods methods-3d-tiny recipe.source=gone --out o", "gone", "folder"),
        ("init-target gone", "gone is no folder", "give the one that holds your images"),
        ("check gone.toml", "'gone.toml'", "check the path"),
        ("check {w}/organs.toml images=gone", "gone is no folder", "put right root or images"),
        ("finetune --init ./gone --target {w}/organs.toml --out o", "./gone: no such folder", "Give a folder"),
        ("finetune --init {w}/pretext --target gone.toml --out o", "'gone.toml'", "check the path"),
        ("benchmark --targets gone.toml --inits {w}/pretext --out o", "'gone.toml'", "check the path"),
        ("worth --target {w}/organs.toml --weights ./gone --out o", "./gone: no such folder", "Give a folder"),
        ("prepare {w}/recipe.toml source=gone", "source gone is not a folder", "give source=FOLDER"),
        ("prepare {w}/recipe.toml split=gone.csv", "gone.csv is not there", "give split=CSV"),
        ("pretrain {w}/recipe.toml", "is not a store", "`sg-hub prepare` first"),
        ("publish {w}/recipe.toml", "is not there yet", "`sg-hub pretrain` first"),
        ("score gone {w}/organs.toml", "gone is not there", "`sg-hub segment`"),
        ("report gone", "gone holds no results.jsonl", "`sg-hub benchmark` first"),
    ],
    "a wrong number of classes": [
        ("check {w}/fewer.toml", "p0.nii.gz holds the values 2", "in `values` which class", "6 of 6 items"),
        ("check {w}/more.toml", "no label map has the class 'lung'", "in `values` which number"),
        ("finetune --init {w}/pretext --target {w}/fewer.toml --out o", "holds the values 2", "in `values`"),
        ("benchmark --targets {w}/more.toml --inits {w}/pretext --out o", "the class 'lung'", "in `values`"),
        ("worth --target {w}/fewer.toml --weights {w}/pretext --out o", "holds the values 2", "in `values`"),
        ("init-target {w}/organs --classes cord", "--classes has 1 name", "give 2 names"),
        ("export {w}/pretext --head segmentation --onnx n.onnx", "needs num_classes", "num_classes=2"),
        ("segment {w}/ct.nii.gz --model {w}/pretext", "knows no classes", "fine-tuned for segmentation"),
        ("classify {w}/ct.nii.gz --model {w}/segmentation", "no classes of a whole scan", "for classification"),
    ],
    "2D for 3D, or 3D for 2D": [
        ("segment {w}/xrays/a/x0.png --model {w}/segmentation", "is a 2D picture", "take 2D weights"),
        ("embed {w}/xrays", "holds images, such as", "2D weights"),
        ("embed {w}/organs --model {w}/pretext-2d", "holds scans, such as", "3D weights"),
        ("classify {w}/ct.nii.gz --model {w}/pretext-2d", "head", "fine-tuned for classification"),
        ("embed {w}/ct.nii.gz --model {w}/pretext-2d", "is a 3D scan", "take 3D weights"),
        ("locate {w}/xrays/a/x0.png --at 1,2,3 {w}/ct.nii.gz --model {w}/pretext", "is a 2D picture", "2D weights"),
        ("propagate {w}/xrays/a/x0.png {w}/mask.nii.gz {w}/ct.nii.gz --model {w}/pretext", "is a 2D picture", "2D"),
        ("finetune --init {w}/pretext --target {w}/xrays.toml --out o", "takes a 2D network", "give weights such as"),
        ("finetune --init {w}/pretext-2d --target {w}/organs.toml --out o", "takes a 3D network", "give weights such"),
        ("benchmark --targets {w}/xrays.toml --inits {w}/pretext --out o", "is a 3D network", "none of the targets"),
        ("worth --target {w}/xrays.toml --weights {w}/pretext --out o", "takes 2D networks", "give a target"),
        ("prepare {w}/recipe.toml source={w}/xrays", "no scans below", "looked for"),
        ("export {w}/pretext --onnx n.onnx --size 32 32", "size=32 32", "give 3 whole numbers"),
    ],
    "a label map of another shape": [
        (
            "propagate {w}/ct.nii.gz {w}/flat-mask.nii.gz {w}/ct.nii.gz --model {w}/pretext",
            "ct.nii.gz of (16, 16, 12)",
            "resample it",
        ),
        ("check {w}/shapes.toml", "p2.nii.gz has size (16, 16, 10)", "resample the label map"),
        (
            "finetune --init {w}/pretext --target {w}/shapes.toml --out o",
            "p2.nii.gz has size",
            "resample the label map",
        ),
        ("benchmark --targets {w}/shapes.toml --inits {w}/pretext --out o", "p2.nii.gz has size", "resample the label"),
        ("worth --target {w}/shapes.toml --weights {w}/pretext --out o", "p2.nii.gz has size", "resample the label"),
        ("score {w}/shapes/labels {w}/organs.toml --part all", "p2.nii.gz has size", "resample them"),
    ],
    "a typing error": [
        ("segmnt", "'segmnt'", "did you mean 'segment'?", "--help"),
        ("embed {w}/ct.nii.gz --modell x", "--modell", "did you mean --model?", "sg-hub embed --help"),
        ("embed {w}/ct.nii.gz --model semantic-genesis-3d-tin", "did you mean semantic-genesis-3d-tiny?"),
        ("check {w}/typo.toml", "clases: there is no such key", "did you mean classes?"),
        ("check {w}/organs.toml setings.steps=2", "setings: there is no such key", "did you mean settings?"),
        (
            "finetune --init {w}/pretext --target {w}/organs.toml --out o settings.stpes=2",
            "settings.stpes: there is no such key",
            "did you mean steps?",
        ),
        (
            "finetune --init {w}/pretext --target {w}/organs.toml --out o settings.steps=many",
            'settings.steps = "many"',
            "expected a whole number above 0",
        ),
        ("benchmark --targets {w}/organs.toml --inits {w}/pretext --out o gird.size=3", "gird", "did you mean grid?"),
        ("worth --target {w}/organs.toml --weights {w}/pretext --out o rot=x", "rot", "did you mean root?"),
        ("pretrain {w}/recipe.toml pretrain.epocs=3", "pretrain.epocs", "did you mean epochs?"),
        ("prepare {w}/recipe-typo.toml", "pretrain.epocs", "did you mean epochs?"),
        ("prepare semantic-genesis-3d-tinny", "did you mean semantic-genesis-3d-tiny?"),
        ("init-target {w}/organs --clases a b", "--clases", "did you mean --classes?"),
        ("score {w}/organs/labels {w}/organs.toml --part tests", "'tests'", "did you mean 'test'?"),
    ],
    "no labels": [
        (
            "init-target {w}/unlabelled",
            "looks like a folder of label maps",
            "give each label map the name of its image",
        ),
        ("init-target {w}/organs/images", "nothing that says what is in them", "expected a folder of images beside"),
        ("init-target {w}/blank", "nothing is outlined", "labels"),
        ("check {w}/unlabelled.toml", "holds no label maps", "put some there"),
        ("check {w}/blank.toml", "no label map has the class 'cord', 'jaw'", "say in `values`"),
        ("finetune --init {w}/pretext --target {w}/unlabelled.toml --out o", "holds no label maps", "put some there"),
        (
            "benchmark --targets {w}/unlabelled.toml --inits {w}/pretext --out o",
            "holds no label maps",
            "put some there",
        ),
        ("worth --target {w}/unlabelled.toml --weights {w}/pretext --out o", "holds no label maps", "put some there"),
        (
            "propagate {w}/ct.nii.gz {w}/blank/labels/p0.nii.gz {w}/ct.nii.gz --model {w}/pretext",
            "labels of type uint8, 0 to 0",
            "at least one class above it",
        ),
    ],
    "one patient in both parts": [
        ("check {w}/twice.toml", "patient p0 is in train and in test", "leave one"),
        ("check {w}/torn.toml", "patient q0 is in test and in train", "one part in the column split"),
        ("finetune --init {w}/pretext --target {w}/twice.toml --out o", "p0 is in train and in test", "leave one"),
        ("benchmark --targets {w}/torn.toml --inits {w}/pretext --out o", "q0 is in", "one part in the column split"),
        ("worth --target {w}/torn.toml --weights {w}/pretext --out o", "q0 is in", "one part in the column split"),
        ("targets {w}/twice.toml", "p0 is in train and in test", "leave one"),
        ("prepare {w}/recipe.toml split={w}/twice.csv", "'p0' in 'train' and in 'test'", "leave one"),
    ],
    "an output that cannot be written": [
        ("segment {w}/ct.nii.gz --model {w}/segmentation --out gone/l.nii.gz", "folder gone does not exist", "make it"),
        ("segment {w}/ct.nii.gz --model {w}/segmentation --out {w}/file/l.nii.gz", "is a file", "choose another"),
        ("classify {w}/ct.nii.gz --model {w}/classification --out {no}/c.csv", "may not write", "choose another"),
        ("embed {w}/ct.nii.gz --model {w}/pretext --out {no}/f.npy", "may not write", "choose another"),
        (
            "locate {w}/ct.nii.gz --at 20,20,20 {w}/ct.nii.gz --model {w}/pretext --out gone/p.csv",
            "folder gone does not exist",
            "make it first",
        ),
        (
            "propagate {w}/ct.nii.gz {w}/mask.nii.gz {w}/ct.nii.gz --model {w}/pretext --out {no}/l.nii.gz",
            "may not write",
            "choose another",
        ),
        ("export {w}/pretext --onnx {no}/n.onnx", "may not write", "choose another"),
        ("init-target {w}/organs --out gone/o.toml", "folder gone does not exist", "make it first"),
        ("convert {w}/ct.nii.gz {w}/file", "is a file", "give a folder"),
        ("finetune --init {w}/pretext --target {w}/organs.toml --out {w}/file/m", "cannot be made", "another --out"),
        ("finetune --init {w}/pretext --target {w}/organs.toml --out {w}/organs", "left as it is", "another --out"),
        ("benchmark --targets {w}/organs.toml --inits {w}/pretext --out {w}/file", "a file where a folder", "choose"),
        ("worth --target {w}/organs.toml --weights {w}/pretext --out {no}/x", "cannot be written", "choose another"),
        ("prepare {w}/recipe.toml run={w}/file", "a file where a folder", "choose another"),
        ("score {w}/organs/labels {w}/organs.toml --out gone/s.csv", "folder gone does not exist", "make it first"),
    ],
}
COMMANDS = {
    "classify": "{w}/ct.nii.gz --model {w}/classification",
    "embed": "{w}/ct.nii.gz",
    "export": "{w}/pretext --onnx n.onnx",
    "locate": "{w}/ct.nii.gz --at 1,2,3 {w}/ct.nii.gz",
    "propagate": "{w}/ct.nii.gz {w}/mask.nii.gz {w}/ct.nii.gz",
    "segment": "{w}/ct.nii.gz --model {w}/segmentation",
    "check": "{w}/organs.toml",
    "finetune": "--init {w}/pretext --target {w}/organs.toml --out o",
    "benchmark": "--targets {w}/organs.toml --inits {w}/pretext --out o",
    "worth": "--target {w}/organs.toml --weights {w}/pretext --out o",
    "init-target": "{w}/organs",
    "prepare": "{w}/recipe.toml",
    "pretrain": "{w}/recipe.toml",
    "publish": "{w}/recipe.toml",
}
"""Right as they stand, but for what a test adds or takes away."""
TRAINING = ("check", "finetune", "benchmark", "worth", "init-target", "prepare", "pretrain", "publish")


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4, 4, 3))
    sitk.WriteImage(image, str(path))


def scan(path, seed=0):
    write(path, np.random.default_rng(seed).integers(-500, 500, GRID[::-1]).astype(np.int16))


def mask(path, *numbers, slices=GRID[2]):
    array = np.zeros((slices, GRID[1], GRID[0]), np.uint8)
    for place, number in enumerate(numbers):
        array[2:9, 2 + 5 * place : 6 + 5 * place, 3:12] = number
    write(path, array)


def text(path, words):
    path.write_text("\n".join(line.strip() for line in words.splitlines()), encoding="utf-8")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A user's folder, with something wrong in most of what is in it."""
    w = tmp_path_factory.mktemp("world")
    scan(w / "ct.nii.gz")
    mask(w / "mask.nii.gz", 1, 2)
    mask(w / "flat-mask.nii.gz", 1, 2, slices=10)
    (w / "text.nii.gz").write_text("no scan", encoding="utf-8")
    (w / "file").write_text("a file", encoding="utf-8")
    (w / "unlabelled" / "labels").mkdir(parents=True)
    for number in range(6):
        for folder, numbers in {"organs": (1, 2), "shapes": (1, 2), "blank": (), "unlabelled": None}.items():
            scan(w / folder / "images" / f"p{number}.nii.gz", number)
            if numbers is not None:
                slices = 10 if (folder, number) == ("shapes", 2) else GRID[2]
                mask(w / folder / "labels" / f"p{number}.nii.gz", *numbers, slices=slices)
    rows = []
    for number in range(12):
        place = w / "xrays" / "ab"[number % 2] / f"x{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (64, 64)).astype(np.uint8)).save(place)
        rows.append(f"{place.parent.name}/{place.name},{place.parent.name}")
    text(w / "xrays.csv", "\n".join(["image,label", *rows]))
    text(w / "xrays.toml", XRAYS)
    for name in ("organs", "shapes", "blank", "unlabelled"):
        text(w / f"{name}.toml", SEGMENTATION.format(root=name, more=CLASSES))
    for name, more in {
        "fewer": 'classes = ["cord"]',
        "more": 'classes = ["cord", "jaw", "lung"]',
        "typo": 'clases = ["cord", "jaw"]',
        "twice": f'{CLASSES}\n[splits]\nfile = "twice.csv"',
        "torn": f'{CLASSES}\ntable = "../torn.csv"',
    }.items():
        text(w / f"{name}.toml", SEGMENTATION.format(root="organs", more=more))
    parts = ("train", "train", "train", "validation", "test", "test")
    split = ["patient,split", *(f"p{number},{part}" for number, part in enumerate(parts))]
    text(w / "split.csv", "\n".join(split).replace("validation", "train"))
    text(w / "twice.csv", "\n".join([*split, "p0,test"]))
    torn = ("train", "test", "train", "train", "validation", "test")
    rows = [f"p{number}.nii.gz,q{number // 2},{part}" for number, part in enumerate(torn)]
    text(w / "torn.csv", "\n".join(["image,patient,split", *rows]))
    for name, more in {"recipe": "", "recipe-typo": "[pretrain]\nepocs = 3"}.items():
        recipe = RECIPE.format(source=w / "organs" / "images", split=w / "split.csv", more=more)
        text(w / f"{name}.toml", recipe)
    torch.manual_seed(0)
    scans = Preprocessing(input_size=(16, 16, 8), spacing=(4, 4, 3))
    heads = {"pretext": {}, "segmentation": {"num_classes": 3}, "classification": {"num_classes": 2}}
    for head, settings in heads.items():
        model = SemanticGenesis3D(width=2, norm="batch", head=head, preprocessing=scans, **settings)
        model.eval().save_pretrained(w / head)
    images = ImagePreprocessing(input_size=(64, 64))
    SemanticGenesis2D(encoder="lcnet_035", decoder_width=2, preprocessing=images).eval().save_pretrained(
        w / "pretext-2d"
    )
    return w


@pytest.fixture
def mistake(run, world, tmp_path, monkeypatch):
    """Runs a command that has to be refused; gives the line that says why."""
    nowhere = "/proc" if sys.platform == "linux" else "/dev/null"  # where not even root can write
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    def mistake(line):
        code, _, said = run(*shlex.split(line.format(w=world, no=nowhere)))
        lines = [part for part in re.split(r"[\r\n]+", said) if part.strip() and "item/s" not in part]  # no bars
        assert (code, len(lines)) == (2, 1), said
        error = lines[0]
        assert error.startswith("sg-hub: error: ")
        assert not (tmp_path / "o" / "config.json").exists()
        return error

    return mistake


@pytest.mark.parametrize(
    ("line", "words"),
    [pytest.param(line, words, id=f"{kind}: {line}") for kind, rows in MISTAKES.items() for line, *words in rows],
)
def test_a_mistake_is_one_line_that_says_what_to_do(mistake, line, words):
    error = mistake(line)
    for word in words:
        assert word in error
    assert len(error) < 900


@pytest.mark.parametrize("command", COMMANDS)
def test_a_gpu_that_is_not_there(mistake, command):
    for device in ("cuda", "mps"):
        error = mistake(f"{command} {COMMANDS[command]} --device {device}")
        assert f"--device {device}" in error
        assert "--device cpu" in error
    assert "did you mean" in mistake(f"{command} {COMMANDS[command]} --device cdua")


@pytest.mark.parametrize("command", TRAINING)
@pytest.mark.parametrize("package", ["zarr", "pydantic"])
def test_the_extra_of_training_that_is_not_installed(mistake, command, package, monkeypatch):
    found = sys.modules["sg_hub.cli.run"].find_spec
    monkeypatch.setattr("sg_hub.cli.run.find_spec", lambda name: None if name == package else found(name))
    error = mistake(f"{command} {COMMANDS[command]}")
    assert f"{command} needs what the extra [training] brings ({package}" in error
    assert "pip install" in error


@pytest.mark.parametrize(
    ("line", "package", "words"),
    [
        ("export {w}/pretext --onnx n.onnx --size 16 16 8", "onnx", "pip install"),
        ("benchmark --targets {w}/organs.toml --inits {w}/pretext --out o --ray", "ray", "pip install"),
        ("convert {w}/published.h5 out", "h5py", "pip install"),
    ],
)
def test_another_extra_that_is_not_installed(mistake, world, line, package, words, monkeypatch):
    (world / "published.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    error = mistake(line)
    assert package in error
    assert words in error


def test_the_commands_of_the_table_are_commands():
    known = make_parser()._subparsers._group_actions[0].choices
    assert {*COMMANDS} <= {*known}
    shown = {line.split()[0] for rows in MISTAKES.values() for line, *_ in rows}
    assert {*COMMANDS} <= shown
