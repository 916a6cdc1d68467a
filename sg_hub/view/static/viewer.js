// One scan in three planes, drawn by NiiVue. Places are mm in LPS, as everywhere in sg_hub; NiiVue's own are RAS, and
// those of the file where `true` asks for them: without it they are of the grid as it is drawn, turned upright.

const SETTINGS = {
  isRadiologicalConvention: true, // patient's left on the right, as in all pictures of sg_hub
  sagittalNoseLeft: true,
  showAllOrientationMarkers: true,
  multiplanarShowRender: 0, // never: a surface shows faces
  tileMargin: 16,
  dragAndDropEnabled: false, // files go to the server, which reads more formats and checks them
  loadingText: "",
  backColor: [0, 0, 0, 1],
  crosshairWidth: 1,
  crosshairGap: 12,
  fontMinPx: 14,
  fontColor: [0.85, 0.88, 0.9, 1],
};
// Axial, coronal and sagittal: left, top, width and height, as shares of the canvas.
const LAYOUT = [
  { sliceType: 0, position: [0, 0, 1, 0.6] },
  { sliceType: 1, position: [0, 0.61, 0.6, 0.38] },
  { sliceType: 2, position: [0.63, 0.61, 0.37, 0.38] },
];
export const CHOSEN = [0.34, 0.71, 0.91, 0.9], FOUND = [0, 0.75, 0.55, 1], DOUBT = [1, 0.55, 0.2, 1];
const GREATEST = 2048;

const flipped = ([x, y, z]) => [-x, -y, z];

export class Viewer {
  // onMoved(at, value): the cross-hairs were moved by the user.
  constructor(canvas, onMoved) {
    this.nv = new window.niivue.Niivue(SETTINGS);
    this.nv.onLocationChange = (where) => {
      if (this.nv.volumes.length) onMoved(flipped(where.mm), where.values[0]?.value);
    };
    this.ready = this.nv.attachToCanvas(canvas);
    this.size = null;
    this.turn = this.ready;
  }

  // One after another, or NiiVue would draw a scan over another one. Gives whether it is still wanted, before and after.
  #inTurn(wanted, work) {
    this.turn = this.turn.catch(() => {}).then(async () => wanted() && (await work(), wanted()));
    return this.turn;
  }

  get shown() {
    return this.nv.volumes.length > 0;
  }

  // Gives whether it is shown: not where wanted() says that something else is by now.
  load(url, size, wanted) {
    return this.#inTurn(wanted, async () => {
      await this.#load(url, size);
      if (!wanted()) this.clear();
    });
  }

  async #load(url, size) {
    await this.ready;
    const gl = this.nv.gl;
    if (!gl) throw new Error("this browser has no WebGL 2, which draws the slices: allow it, or take another browser");
    if (gl.getParameter(gl.MAX_3D_TEXTURE_SIZE) < Math.min(GREATEST, Math.max(...size))) {
      throw new Error("this browser's WebGL holds no volume of this size: take another browser or machine");
    }
    this.clear();
    await this.nv.loadVolumes([{ url, name: "scan.nii" }]);
    this.nv.setCustomLayout(LAYOUT);
    this.size = size;
    this.mark(CHOSEN);
  }

  // Say where the cross-hairs are.
  tell() {
    this.nv.createOnLocationChange();
  }

  clear() {
    for (const volume of [...this.nv.volumes].reverse()) this.nv.removeVolume(volume);
    this.size = null;
  }

  setWindow({ low, high }) {
    const volume = this.nv.volumes[0];
    [volume.cal_min, volume.cal_max] = [low, high];
    this.nv.updateGLVolume();
  }

  // Classes: value and colour of each. Gives whether they are shown, as load does.
  overlay(url, classes, opacity, wanted) {
    return this.#inTurn(wanted, () => this.#overlay(url, classes, opacity));
  }

  async #overlay(url, classes, opacity) {
    this.removeOverlay();
    await this.nv.addVolumesFromUrl([{ url, name: "labels.nii", opacity }]);
    const table = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [""] };
    for (const { value, colour, name } of classes) {
      ["R", "G", "B"].forEach((channel, index) => table[channel].push(colour[index]));
      table.A.push(255);
      table.I.push(value);
      table.labels.push(name);
    }
    this.nv.volumes[1].setColormapLabel(table);
    this.nv.updateGLVolume();
  }

  removeOverlay() {
    while (this.nv.volumes.length > 1) this.nv.removeVolume(this.nv.volumes[1]);
  }

  setOpacity(opacity) {
    if (this.nv.volumes.length > 1) this.nv.setOpacity(1, opacity);
  }

  // The place under the cross-hairs.
  get at() {
    return flipped(this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true));
  }

  // Put the cross-hairs at a place; nobody is told but through the result, the value there.
  goTo(at, colour) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(flipped(at), 0, true).map((share) => Math.min(Math.max(share, 0), 1));
    this.mark(colour);
    const [x, y, z] = this.nv.frac2vox(this.nv.scene.crosshairPos);
    return this.nv.volumes[0].getValue(x, y, z);
  }

  mark(colour) {
    this.nv.setCrosshairColor(colour);
    this.nv.drawScene();
  }

  // Voxels to the patient's left, to posterior and to superior.
  step(left, posterior, superior) {
    this.nv.moveCrosshairInVox(-left, -posterior, superior);
  }
}
