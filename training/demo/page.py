"""demo/index.html: the pictures of the demo in their order, with what each shows and what is good in it."""

from __future__ import annotations

from pathlib import Path

from sg_hub.io.files import write_atomic

from ..run import html

CAPTIONS = {
    "restored.png": (
        "Cubes of a CT, corrupted and restored by the weights that ship",
        "Good: bone and air go on through the box of noise. The filling is smoother than the tissue around it.",
    ),
    "restored-2d.png": (
        "The same with patches of an X-ray",
        "Good: ribs and the edge of the heart go on through the box.",
    ),
    "reconstructions.png": (
        "The autoencoder's reconstructions, from which nearest patients are found",
        "After the demo's few steps they are grey, at best the shape of the body. A real run shows the large organs.",
    ),
    "patterns.png": (
        "Discovered patterns: a row is one pattern in several patients",
        "Good: every picture of a row shows the same place of the body.",
    ),
    "transforms.png": (
        "What is done to cubes before the network restores them",
        "Good: each column differs from the first in its own way, and the anatomy can still be told.",
    ),
    "restorations.png": (
        "Cubes of patients whom nothing had seen, restored by the network that was just trained",
        "After the demo's few steps they are blurred; the error is darkest where nothing was corrupted.",
    ),
    "curves.png": (
        "Losses of the training, by epoch",
        "Good: training and validation fall together.",
    ),
}
"""By the name of the picture, in the order of the job: what it shows, and what is good in it."""
CARDS = "model_cards"
"""Folder of the cards, below that of the demo."""


def write_page(out: Path) -> Path:
    """Write the page of every picture below a folder, but for the copies on cards; gives its path.

    Pictures without a caption come last, under their names.
    """
    order = list(CAPTIONS)
    found = [path for path in out.rglob("*.png") if CARDS not in path.relative_to(out).parts]
    pictures = sorted(found, key=lambda path: (order.index(path.name) if path.name in order else len(order), str(path)))
    figures = []
    for picture in pictures:
        place = picture.relative_to(out).as_posix()
        title, good = CAPTIONS.get(picture.name, (picture.stem, ""))
        figures.append(
            f"<figure>\n<h2>{html.text(title)}</h2>\n<p>{html.text(good)}</p>\n"
            f'<img src="{html.text(place)}" alt="{html.text(title)}">\n'
            f"<figcaption>{html.text(place)}</figcaption>\n</figure>"
        )
    page = out / "index.html"
    intro = "<h1>sg_hub demo</h1>\n<p>Pictures in the order of the job. The training was a few steps long.</p>"
    write_atomic(page, html.page("sg_hub demo", [intro, *figures]))
    return page
