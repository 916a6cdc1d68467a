// The page: two scans side by side, and what the networks on the server say of them.

import { Viewer, CHOSEN, FOUND, DOUBT } from "./viewer.js";

const $ = (selector, within = document) => within.querySelector(selector);
const SETTLED = 350; // ms after the last move, before a place is looked for
const SIDES = ["left", "right"];
let scans = [], state = {};

async function ask(method, path, body, signal) {
  const sent = body instanceof Blob || body === undefined ? body : JSON.stringify(body);
  let answer;
  try {
    answer = await fetch(`api/${path}`, { method, body: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the program behind this page does not answer: is sg-hub view still running?");
  }
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error);
  return said;
}

class Pane {
  constructor(side) {
    this.side = side;
    this.root = $("#pane").content.cloneNode(true).firstElementChild;
    this.root.classList.add(SIDES[side]);
    $("#panes").append(this.root);
    this.scan = null; // what the server says of it
    this.loads = 0;
    this.viewer = new Viewer($("canvas", this.root), (at, value) => this.moved(at, value));
    this.viewer.ready.catch((error) => this.fail(error));
    this.#listen();
  }

  #listen() {
    const on = (selector, event, run) => $(selector, this.root).addEventListener(event, run);
    on(".scans", "change", (event) => event.target.value && this.show(Number(event.target.value)));
    on(".files", "click", () => $(".pick-files", this.root).click());
    on(".folder", "click", () => $(".pick-folder", this.root).click());
    on(".close", "click", () => this.scan && closeScan(this.scan.id, this));
    for (const kind of [".pick-files", ".pick-folder"]) {
      on(kind, "change", (event) => {
        this.take([...event.target.files].map((file) => [file.webkitRelativePath || file.name, file]));
        event.target.value = "";
      });
    }
    const stage = $(".stage", this.root);
    this.root.addEventListener("dragover", (event) => { event.preventDefault(); stage.classList.add("over"); });
    this.root.addEventListener("dragleave", () => stage.classList.remove("over"));
    this.root.addEventListener("drop", async (event) => {
      event.preventDefault();
      stage.classList.remove("over");
      const dropped = [...event.dataTransfer.items].filter((item) => item.kind === "file");
      const entries = dropped.map((item) => [item.webkitGetAsEntry(), item.getAsFile()]); // now: later they are gone
      const files = entries.map(([entry, file]) => (entry ? filesBelow(entry) : [[file.name, file]]));
      this.take((await Promise.all(files)).flat());
    });
    stage.addEventListener("keydown", (event) => this.key(event), { capture: true });
    stage.addEventListener("pointerup", (event) => event.button === 0 && this.viewer.shown && lookFor(this));
  }

  key(event) {
    const steps = {
      ArrowUp: [0, 0, 1], ArrowDown: [0, 0, -1], PageUp: [0, 0, 5], PageDown: [0, 0, -5],
      ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], a: [0, -1, 0], p: [0, 1, 0],
    };
    if (!this.scan || event.ctrlKey || event.metaKey || event.altKey || event.key === "Tab") return;
    event.stopPropagation();
    if (event.key === "w") this.setWindow((this.window + 1) % this.scan.windows.length);
    if (event.key in steps) {
      event.preventDefault();
      this.viewer.step(...steps[event.key]);
      lookFor(this);
    }
  }

  fail(error) {
    if (error.name === "AbortError") return;
    const shown = $(".error", this.root);
    shown.textContent = error.message;
    shown.hidden = false;
  }

  busy(words) {
    const shown = $(".busy", this.root);
    shown.textContent = words;
    shown.hidden = !words;
  }

  // Run some work, with words over the slices; what is wrong is said on the page.
  async during(words, work) {
    $(".error", this.root).hidden = true;
    this.busy(words);
    try {
      return await work();
    } catch (error) {
      this.fail(error);
    } finally {
      this.busy("");
    }
  }

  // Files by name, with / between their folders: to the server, and the first scan of them is shown.
  take(files) {
    const visible = files.filter(([name]) => !name.split("/").some((part) => part.startsWith(".")));
    return this.during("Copying…", async () => {
      const bytes = visible.reduce((sum, [, file]) => sum + file.size, 0);
      if (bytes > state.mostBytes) {
        throw new Error(`${Math.round(bytes / 1e6)} MB are more than the ${Math.round(state.mostBytes / 1e6)} MB that are taken: name the scan on the command line, which copies nothing`);
      }
      const { upload } = await ask("POST", "uploads");
      for (const [number, [name, file]] of visible.entries()) {
        this.busy(`Copying ${number + 1} of ${visible.length}…`);
        await ask("PUT", `uploads/${upload}/${name.split("/").map(encodeURIComponent).join("/")}`, file);
      }
      this.busy("Reading…");
      const opened = await ask("POST", `uploads/${upload}/open`);
      listScans([...scans, ...opened.scans]);
      await this.#load(opened.scans[0].id);
    });
  }

  show(id) {
    return this.during("Reading…", () => this.#load(id));
  }

  async #load(id) {
    const load = ++this.loads, wanted = () => load === this.loads;
    try {
      const scan = await ask("GET", `scans/${id}`);
      if (!wanted()) return;
      this.scan = null; // from here on nothing of the former one is there
      try {
        if (!await this.viewer.load(`api/scans/${id}/volume.nii`, scan.size, wanted)) return;
      } catch (error) {
        if (wanted()) this.#forget();
        throw error;
      }
      this.scan = scan;
    } finally {
      if (wanted()) $(".scans", this.root).value = this.scan?.id ?? "";
    }
    this.#describe(this.scan);
  }

  #describe(scan) {
    $(".empty", this.root).hidden = true;
    const names = ["x", "y", "z"].map((axis, index) => `${axis} ${scan.size[index]} × ${scan.spacing[index]} mm`);
    $(".about", this.root).textContent = `${names.join(", ")}; file in ${scan.orientation}; ${scan.levels}`;
    $(".notes", this.root).replaceChildren(...scan.notes.map((note) => element("li", note)));
    $(".windows", this.root).replaceChildren(...scan.windows.map((window, number) => {
      const button = element("button", `${window.name} (${format(window.low)} to ${format(window.high)})`);
      button.type = "button";
      button.addEventListener("click", () => this.setWindow(number));
      return button;
    }));
    this.setWindow(0);
    this.viewer.tell();
    clearClasses(this.side);
    $("#patients").replaceChildren();
    $("#nearest-status").textContent = "";
    sayPlace(panes.every((pane) => pane.scan) ? "Click into one of the scans." : "Open two scans, then click into one of them.");
    panes.forEach((pane) => pane.scan && pane.viewer.mark(CHOSEN));
  }

  clear() {
    this.loads += 1;
    this.viewer.clear();
    this.viewer.nv.drawScene();
    this.#forget();
  }

  #forget() {
    this.scan = null;
    clearClasses(this.side);
    $(".empty", this.root).hidden = false;
    for (const part of [".where", ".about", ".windows", ".notes"]) $(part, this.root).replaceChildren();
    $(".scans", this.root).value = "";
    sayPlace("Open two scans, then click into one of them.");
  }

  setWindow(number) {
    this.window = number;
    this.viewer.setWindow(this.scan.windows[number]);
    [...$(".windows", this.root).children].forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === number));
    });
  }

  moved(at, value) {
    const [x, y, z] = at.map((one) => one.toFixed(1));
    const unit = this.scan?.levels.includes("HU") ? " HU" : "";
    const shown = value === undefined ? "" : `, value ${format(value)}${unit}`;
    $(".where", this.root).textContent = `left ${x}, posterior ${y}, superior ${z} mm (LPS)${shown}`;
  }
}

const format = (value) => String(Math.round(value * 100) / 100);

function element(tag, text, parts = {}) {
  const made = Object.assign(document.createElement(tag), parts);
  if (text !== undefined) made.textContent = text;
  return made;
}

// [name, file] of everything below an entry that was dropped.
async function filesBelow(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [[entry.fullPath.replace(/^\//, ""), file]];
  }
  const reader = entry.createReader(), found = [];
  for (;;) { // a hundred at a time
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const below of some) found.push(...await filesBelow(below));
  }
}

function listScans(all) {
  scans = all;
  for (const pane of panes) {
    const choice = $(".scans", pane.root), before = choice.value;
    choice.replaceChildren(element("option", scans.length ? "Choose a scan…" : "No scan yet", { value: "" }));
    choice.append(...scans.map(({ id, name }) => element("option", name, { value: id })));
    choice.value = before;
  }
}

async function closeScan(id, pane) {
  await pane.during("Closing…", async () => {
    await ask("DELETE", `scans/${id}`);
    for (const other of panes) if (other.scan?.id === id) other.clear();
    listScans(scans.filter((scan) => scan.id !== id));
    $("#patients").replaceChildren();
  });
}

// The same place: the latest wish is the one that is answered, one request at a time.
let wish = null, asking = false, timer;

function lookFor(pane) {
  clearTimeout(timer);
  pane.viewer.mark(CHOSEN);
  if (!$("#follow").checked || !panes.every((one) => one.scan)) return;
  wish = { pane, at: pane.viewer.at, ids: [pane.scan.id, panes[1 - pane.side].scan.id] };
  sayPlace("Looking for the same place…");
  timer = setTimeout(answerWish, SETTLED);
}

async function answerWish() {
  if (asking || !wish) return;
  const { pane, at, ids } = wish, other = panes[1 - pane.side];
  const shown = () => pane.scan?.id === ids[0] && other.scan?.id === ids[1];
  wish = null;
  if (!shown()) return;
  asking = true;
  try {
    const found = await ask("POST", "place", { scan: ids[0], other: ids[1], at });
    if (!wish && shown()) {
      const value = other.viewer.goTo(found.place, found.found ? FOUND : DOUBT);
      other.moved(found.place, value);
      sayPlace(
        found.found ? `Found in the ${SIDES[other.side]} scan, score ${found.score.toFixed(2)} of 1.`
          : `Hardly the same place, or not in the ${SIDES[other.side]} scan (score ${found.score.toFixed(2)} of 1).`,
        found.found ? "found" : "doubt",
      );
    }
  } catch (error) {
    sayPlace("");
    pane.fail(error);
  } finally {
    asking = false;
    if (wish) answerWish();
  }
}

function sayPlace(words, kind = "") {
  const shown = $("#place");
  [shown.textContent, shown.className] = [words, kind];
}

function clearClasses(side) {
  $(`#classes [data-side="${side}"]`)?.remove();
}

async function segment(side) {
  const pane = panes[side];
  if (!pane.scan) return pane.fail(new Error(`open a scan on the ${SIDES[side]} first`));
  const { id, name } = pane.scan;
  await pane.during("Segmenting…", async () => {
    const classes = await ask("POST", `scans/${id}/segmentation`);
    const wanted = () => pane.scan?.id === id;
    if (!await pane.viewer.overlay(`api/scans/${id}/labels.nii`, classes, Number($("#opacity").value), wanted)) return;
    const list = element("ul");
    for (const one of classes) {
      const line = element("li"), square = element("span", undefined, { className: "square" });
      square.style.background = `rgb(${one.colour.join(",")})`;
      line.append(square, `${one.name}: ${one.amount}`);
      list.append(line);
    }
    const legend = element("div");
    legend.dataset.side = side;
    legend.append(element("h3", `${SIDES[side]}: ${name}`), list);
    clearClasses(side);
    $("#classes").append(legend);
  });
}

async function nearest() {
  const pane = panes[0], status = $("#nearest-status");
  if (!pane.scan) return pane.fail(new Error("open a scan on the left first"));
  const { id } = pane.scan, failed = [];
  $("#nearest").disabled = true;
  $(".error", pane.root).hidden = true;
  try {
    const begun = performance.now();
    for (const [done, scan] of scans.entries()) {
      if (pane.scan?.id !== id) break;
      const left = done ? Math.ceil((performance.now() - begun) / done * (scans.length - done) / 1000) : null;
      status.textContent = `Describing scan ${done + 1} of ${scans.length}${left === null ? "" : `, about ${left} s left`}…`;
      try {
        await ask("POST", `scans/${scan.id}/features`);
      } catch (error) {
        failed.push(`${scan.name}: ${error.message}`);
      }
    }
    const ranked = pane.scan?.id === id ? await ask("GET", `scans/${id}/nearest`) : [];
    if (pane.scan?.id !== id) return void (status.textContent = ""); // of another scan by now
    $("#patients").replaceChildren(...ranked.slice(0, 8).map((scan) => {
      const button = element("button", undefined, { type: "button", title: "Show it on the right" });
      button.append(
        element("img", undefined, { src: `api/scans/${scan.id}/thumbnail.png`, alt: "" }),
        scan.name, element("small", `distance ${scan.distance.toFixed(2)}`),
      );
      button.addEventListener("click", () => panes[1].showNear(scan.id));
      const item = element("li");
      item.append(button);
      return item;
    }));
    const count = ranked.length ? "Nearest first; click one to show it on the right." : "There is no other scan: open more, or name a folder of them on the command line.";
    status.textContent = [count, ...failed].join(" ");
  } catch (error) {
    status.textContent = "";
    pane.fail(error);
  } finally {
    $("#nearest").disabled = false;
  }
}

// Shown on the right without forgetting who the neighbours are.
Pane.prototype.showNear = async function (id) {
  const kept = [[...$("#patients").children], $("#nearest-status").textContent];
  await this.show(id);
  $("#patients").replaceChildren(...kept[0]);
  $("#nearest-status").textContent = kept[1];
};

const panes = [];
panes.push(new Pane(0), new Pane(1));
for (const button of document.querySelectorAll(".segment")) {
  button.addEventListener("click", () => segment(Number(button.dataset.side)));
}
$("#nearest").addEventListener("click", nearest);
$("#opacity").addEventListener("input", (event) => panes.forEach((pane) => pane.viewer.setOpacity(Number(event.target.value))));

try {
  state = await ask("GET", "state");
  const said = ({ name, data, licence }) => `${name}${data ? `, pre-trained on ${data}` : ""}${licence ? ` (${licence})` : ""}`;
  $("#weights").textContent = `Places and nearest patients by ${said(state.weights)}.`;
  $("#segmenter").textContent = state.segmenter
    ? `By ${state.segmenter.name}: ${state.segmenter.classes.join(", ") || "classes without names"}.`
    : "No weights that segment were given. Fine-tune some (sg-hub finetune), then: sg-hub view --segmenter FOLDER";
  $("#segment-actions").hidden = !state.segmenter;
  listScans(state.scans);
  for (const [side, scan] of state.scans.slice(0, 2).entries()) await panes[side].show(scan.id);
} catch (error) {
  panes[0].fail(error);
}
document.body.dataset.ready = "yes"; // for tests
