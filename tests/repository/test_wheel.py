"""What a user installs: the wheel, in an environment of its own, away from this repository."""

import json
import os
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

import sg_hub
from tests.support.folders import ROOT

pytestmark = pytest.mark.slow
ORGANS = "training/demo/samples/organs.toml"
# One thing after the other of what the README says, on the samples that come with the package.
USE = """
import importlib.util, json, sys
from pathlib import Path

assert importlib.util.find_spec("training") is None, "the wheel brings a module called training"
import sg_hub
import sg_hub.training.methods.protocol
import sg_hub.training.targets as targets

package = Path(sg_hub.__file__).parent
assert Path(targets.__file__).is_relative_to(package) and targets.__name__ == "sg_hub.training.targets"
samples = package / "training" / "demo" / "samples"
scan = sg_hub.load_scan(samples / "openkbp" / "ct" / "pt_218.nii.gz")
model = sg_hub.from_pretrained("semantic-genesis-3d-tiny")
print(json.dumps([list(sg_hub.predict(model, scan).shape), list(scan.array.shape), len(sg_hub.embed(model, scan))]))
"""


# The start of every program of that environment: whoever calls another machine, unasked, ends it.
NO_NETWORK = """
import os, sys

def watch(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if host not in (None, "localhost", "::1") and not str(host).startswith("127."):
        print("a call that nobody asked for:", event, arguments, file=sys.stderr, flush=True)
        os._exit(97)

sys.addaudithook(watch)
"""
SECRETS = {"HF_TOKEN": "hf_not_a_real_token_81625", "AWS_SECRET_ACCESS_KEY": "not-a-real-key-90417"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # Without isolation, so that nothing is downloaded: hatchling is one of the packages of the tests.
    build = ("wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, ROOT)
    subprocess.run([sys.executable, "-m", "pip", *build], check=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """Runs a program of an environment that has the wheel, and the packages of this one but not this repository."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv", with_pip=False)
    programs = folder / "venv" / "bin"
    packages = next((folder / "venv" / "lib").glob("python*")) / "site-packages"
    # Folders named so are searched, but their own .pth files, one of which leads to this repository, are not read.
    (packages / "others.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    (packages / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
    install = ("install", "--quiet", "--no-deps", "--no-index", wheel)
    subprocess.run([sys.executable, "-m", "pip", "--python", programs / "python", *install], check=True)
    # Online, as users are: nothing here asks for the network, so nothing may call it.
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    environment |= SECRETS
    work = folder / "elsewhere"
    work.mkdir()

    def run(program, *arguments):
        command = [programs / program, *map(str, arguments)]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert not any(secret in done.stdout + done.stderr for secret in SECRETS.values())
        return done.stdout

    run.packages, run.work = packages, work
    return run


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.partition("/")[0] for name in names} == {"sg_hub", f"sg_hub-{sg_hub.__version__}.dist-info"}
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"tests", "measured", "benchmarks", "__pycache__", ".ruff_cache"}
    assert not [name for name in names if name.endswith((".pyc", ".pth"))]
    modules = {
        f"{folder.name}/{path.relative_to(folder)}" for folder in (ROOT / "sg_hub",) for path in folder.rglob("*.py")
    }
    modules |= {f"sg_hub/{path.relative_to(ROOT)}" for path in (ROOT / "training").rglob("*.py")}
    assert modules == {name for name in names if name.endswith(".py")}
    for name in (
        "py.typed",
        "hub/registry.json",
        "model_cards/semantic-genesis-3d-tiny/model.safetensors",
        "view/static/index.html",
        "view/static/niivue.js",
        "view/static/LICENSES.txt",
        "training/recipes/demo/demo.toml",
        ORGANS,
        "training/demo/samples/openkbp/LICENSE",
    ):
        assert f"sg_hub/{name}" in names


def test_installed_it_loads_predicts_and_embeds(run):
    restored, scan, features = json.loads(run("python", "-c", USE))
    assert restored == scan
    assert features == 128


def test_installed_it_has_the_commands_of_training(run):
    assert run("sg-hub", "--version").strip() == sg_hub.__version__
    assert "usage: sg-hub pretrain" in run("sg-hub", "pretrain", "--help")


def test_installed_it_runs_the_demo_which_fine_tunes_segments_and_pre_trains(run):
    short = ("autoencode.epochs=1", "method.classification_epochs=1", "pretrain.epochs=1", "prepare.workers=1")
    tuned = ("settings.steps=2", "settings.validate_every=1", "settings.batch_size=1")
    out = run("sg-hub", "demo", *short, "--no-browser", "--finetune", *tuned)
    assert "[7 of 7, about" in out
    assert "spinal cord: " in out
    assert (run.work / "demo" / "labels.nii.gz").is_file()
    page = (run.work / "demo" / "index.html").read_text(encoding="utf-8")
    for picture in ("places.png", "organ-model/examples.png", "segmented.png", "run/demo/discovery/patterns.png"):
        assert f'src="{picture}"' in page
        assert (run.work / "demo" / picture).is_file()
    for name in ("demo", "demo-2d"):
        assert (run.work / "demo" / "model_cards" / name / "README.md").is_file()
    # Of all that was run above, no record or log holds what the user's environment keeps secret.
    written = [path for path in run.work.rglob("*") if path.is_file()]
    assert len(written) > 50
    for secret in SECRETS.values():
        assert not [path for path in written if secret.encode() in path.read_bytes()]


def test_the_watch_over_the_network_sees_a_call(run):
    call = "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)"
    with pytest.raises(AssertionError, match="a call that nobody asked for"):
        run("python", "-c", call)
