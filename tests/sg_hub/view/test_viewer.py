"""Places on the page are those of the scan, also where its grid is turned. It needs Node; nothing is drawn."""

import json
import shutil
import subprocess
from importlib.resources import files

import numpy as np
import pytest

from sg_hub.view.shown import nifti_bytes
from tests.sg_hub.view.test_shown import scan

NODE = shutil.which("node")
PLACE = """
const nothing = new Proxy(function () {}, {
  get: (_, key) => (key === Symbol.toPrimitive ? () => "" : nothing),
  apply: () => nothing, construct: () => nothing, set: () => true,
});
Object.assign(globalThis, { window: globalThis, document: nothing, HTMLElement: class {}, Image: class {} });
const [niivue, viewer, file, at] = process.argv.slice(2);
const { default: { Niivue, NVImage } } = await import(niivue);
window.niivue = { Niivue: class extends Niivue { attachToCanvas() {} drawScene() {} updateGLVolume() {} } };
const { Viewer } = await import(viewer);
const bytes = await (await import("node:fs/promises")).readFile(file);
const shown = new Viewer(null, () => {});
const volume = await NVImage.new(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length), "scan.nii");
volume.dims = volume.dimsRAS; // as NiiVue has it once the volume is drawn
shown.nv.volumes = [volume];
const value = shown.goTo(JSON.parse(at), [0, 0, 0, 1]);
console.log(JSON.stringify({ value, at: Array.from(shown.at).slice(0, 3) }));
process.exit(0);
"""
LOADS = """
class Niivue {
  volumes = [];
  scene = {};
  gl = { getParameter: () => 2048 };
  async attachToCanvas() {}
  async loadVolumes([{ url }]) { // as NiiVue: what was there is forgotten at once, what is new is added at the end
    this.volumes = [];
    await new Promise((resolve) => setTimeout(resolve, url === "slow" ? 200 : 1));
    this.volumes.push(url);
  }
  removeVolume(volume) { this.volumes = this.volumes.filter((one) => one !== volume); }
  setCustomLayout() {} setCrosshairColor() {} drawScene() {}
}
globalThis.window = { niivue: { Niivue } };
const { Viewer } = await import(process.argv[3]);
const viewer = new Viewer(null, () => {}), size = [2, 2, 2];
let wish = "slow";
const loads = [viewer.load("slow", size, () => wish === "slow")];
await new Promise((resolve) => setTimeout(resolve, 20));
wish = "fast";
loads.push(viewer.load("fast", size, () => wish === "fast"));
const shown = await Promise.all(loads);
console.log(JSON.stringify({ shown, volumes: viewer.nv.volumes }));
"""
pytestmark = pytest.mark.skipif(NODE is None, reason="no Node.js: apt install nodejs")


def run(script, folder, *arguments):
    """What a script says at its end, with the paths of NiiVue and of the viewer as its first arguments."""
    (folder / "script.mjs").write_text(script)
    static = files("sg_hub.view") / "static"
    for name, kind in (("niivue", "cjs"), ("viewer", "mjs")):
        (folder / f"{name}.{kind}").write_bytes((static / f"{name}.js").read_bytes())
    paths = [str(folder / name) for name in ("script.mjs", "niivue.cjs", "viewer.mjs")]
    ended = subprocess.run([NODE, *paths, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.parametrize("voxel", [(0, 0, 0), (5, 1, 4), (6, 5, 2)])
def test_cross_hairs_go_to_the_place_and_say_it(tmp_path, voxel):
    given = scan()  # turned by 37 degrees
    place = given.to_mm(np.array([voxel]))[0]
    (tmp_path / "scan.nii").write_bytes(nifti_bytes(given, given.array[0]))
    said = run(PLACE, tmp_path, str(tmp_path / "scan.nii"), json.dumps(place.tolist()))
    assert said["at"] == pytest.approx(place, abs=1e-3)
    assert said["value"] == given.array[0][voxel]


def test_of_two_scans_that_are_chosen_in_a_row_the_last_one_alone_is_shown(tmp_path):
    assert run(LOADS, tmp_path) == {"shown": [False, True], "volumes": ["fast"]}
