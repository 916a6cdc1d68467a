"""demo/index.html: the pictures of the demo in their order, with what each shows and what is good in it."""

from __future__ import annotations

import itertools
from pathlib import Path

from sg_hub.io.files import write_atomic

from ..run.pages import html

WITH_WEIGHTS, MAKING = "What you do with the weights", "How weights are made"
CAPTIONS = {
    "seen.png": (
        WITH_WEIGHTS,
        "A CT as the network sees it",
        "Good: bone is bright, air is black, and left, right, up and down are as the lines in it say.",
    ),
    "places.png": (
        WITH_WEIGHTS,
        "The same place in another patient",
        "Two places of one patient (left three planes) and where they were found in another (right three), without "
        "labels or training. Good: the cross-hairs are in the same organ. Here larynx and left parotid gland are found "
        "within 9 mm; over many places 15 mm is usual with these small weights, and a low score says so.",
    ),
    "organ-model/curves.png": (
        WITH_WEIGHTS,
        "Fine-tuning on three labelled patients: loss, and overlap on a fourth",
        "Good: the loss falls and the overlap rises. It still rises at the end: a real run is longer.",
    ),
    "organ-model/examples.png": (
        WITH_WEIGHTS,
        "Test patients: the reference, and what was found",
        "Green: the reference. Red: what was found. Good: the two lie on each other. organ-model/metrics.csv has the "
        "figures of each class.",
    ),
    "segmented.png": (
        WITH_WEIGHTS,
        "A patient whom the network never saw: spinal cord and mandible",
        "Good: the cord is a spot within the spine, the mandible an arch of bone, and elsewhere is little colour.",
    ),
    "restored.png": (
        WITH_WEIGHTS,
        "What pre-training taught: cubes of a CT, corrupted and restored",
        "Good: bone and air go on through the box of noise. The filling is smoother than the tissue around it.",
    ),
    "restored-2d.png": (
        WITH_WEIGHTS,
        "The same with patches of an X-ray",
        "Good: the box is gone, and lung and heart are where they were. These small weights blur all that is fine.",
    ),
    "autoencoder/curves.png": (
        MAKING,
        "The autoencoder, by which nearest patients are found: its error, by epoch",
        "Good: it falls, and then hardly changes.",
    ),
    "reconstructions.png": (
        MAKING,
        "Scans, and what the autoencoder makes of the few numbers that it has for each",
        "Good: the shape of the body and its large parts are there, blurred.",
    ),
    "patterns.png": (
        MAKING,
        "Discovered patterns: a row is one pattern in several patients",
        "Good: the reference and the near patients of a row show the same place of the body. The far ones need not.",
    ),
    "transforms.png": (
        MAKING,
        "What is done to cubes before the network restores them",
        "Good: each column differs from the first in its own way, and the anatomy can still be told.",
    ),
    "restorations.png": (
        MAKING,
        "Cubes of patients whom nothing had seen, restored by the network that was just trained",
        "After seconds of training only large shapes come back, blurred, such as a lung. The error is bright at edges.",
    ),
    "curves.png": (
        MAKING,
        "Losses of the pre-training, by epoch",
        "Good: mse, the error of the restored, falls below that of the corrupted. To tell patterns apart "
        "(cross_entropy, top1) takes more than twelve patients.",
    ),
}
"""By the name of the picture, or the end of its path, in the order of the job: its part of the page, what it shows, and
what is good in it."""
CARDS = "model_cards"
"""Folder of the cards, below that of the demo."""
_INTRO = (
    "<h1>sg_hub demo</h1>\n<p>What the commands in the terminal made, in the order of the job, and what good looks "
    "like. The scans are samples of OpenKBP and NIH ChestX-ray14. Nothing here is for clinical use.</p>"
)
_NEXT = (
    "<h2>Next</h2>\n<p>Look at the scans themselves: <code>sg-hub view --samples --segmenter {model}</code>. "
    "Fine-tune on a folder of your own: <code>sg-hub init-target FOLDER</code>, then <code>sg-hub finetune</code>.</p>"
)


def write_page(out: Path) -> Path:
    """Write the page of every picture below a folder, but for the copies on cards; gives its path.

    Pictures without a caption come last, under their names.
    """
    found = [path for path in out.rglob("*.png") if CARDS not in path.relative_to(out).parts]
    entries = sorted((_order(path.relative_to(out)), path) for path in found)
    order = [*CAPTIONS.values(), ("More", "", "")]
    body = []
    for part, group in itertools.groupby(entries, key=lambda entry: order[entry[0]][0]):
        body.append(f"<h2>{html.text(part)}</h2>")
        if part == MAKING:
            body.append("<p>Seconds of training, to show the way: a real run takes hours to days.</p>")
        body += [_figure(path.relative_to(out), *order[number][1:]) for number, path in group]
    page = out / "index.html"
    after = _NEXT.format(model=html.text(str(out / "organ-model")))
    write_atomic(page, html.page("sg_hub demo", [_INTRO, *body, after]))
    return page


def _order(place: Path) -> int:
    """Which of the captions is that of a picture; one more than there are where none is."""
    ends = {"/".join(place.parts[-1:]), "/".join(place.parts[-2:])}
    matching = [number for number, name in enumerate(CAPTIONS) if name in ends]
    return min(matching, default=len(CAPTIONS))


def _figure(place: Path, title: str, good: str) -> str:
    title, where = html.text(title or place.stem), html.text(place.as_posix())
    return (
        f"<figure>\n<h3>{title}</h3>\n<p>{html.text(good)}</p>\n"
        f'<img src="{where}" alt="{title}">\n<figcaption>{where}</figcaption>\n</figure>'
    )
