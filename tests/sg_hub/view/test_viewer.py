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
SCRIPT = """
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


@pytest.mark.skipif(NODE is None, reason="no Node")
@pytest.mark.parametrize("voxel", [(0, 0, 0), (5, 1, 4), (6, 5, 2)])
def test_cross_hairs_go_to_the_place_and_say_it(tmp_path, voxel):
    given = scan()  # turned by 37 degrees
    place = given.to_mm(np.array([voxel]))[0]
    (tmp_path / "scan.nii").write_bytes(nifti_bytes(given, given.array[0]))
    (tmp_path / "script.mjs").write_text(SCRIPT)
    static = files("sg_hub.view") / "static"
    for name, kind in (("niivue", "cjs"), ("viewer", "mjs")):
        (tmp_path / f"{name}.{kind}").write_bytes((static / f"{name}.js").read_bytes())
    paths = [str(tmp_path / name) for name in ("niivue.cjs", "viewer.mjs", "scan.nii")]
    command = [NODE, tmp_path / "script.mjs", *paths, json.dumps(place.tolist())]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said["at"] == pytest.approx(place, abs=1e-3)
    assert said["value"] == given.array[0][voxel]
