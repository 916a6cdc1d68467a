"""What goes with the weights of a model: its card, and the licence that they are under."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from huggingface_hub import ModelCard, ModelCardData

from sg_hub.errors import shortened
from sg_hub.hub.download import LONGEST_TEXT

CARD = "README.md"
NOTICE = "NOTICE"
_TEXT = re.compile(r"README\.md|(LICEN[CS]E|NOTICE|COPYING)(\.(md|txt))?", re.IGNORECASE)
_PICTURE = re.compile(r"^!\[.*?\]\((?!https?://).*?\)\s*$", re.MULTILINE)
_HEAD = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
_TEMPLATE = Path(__file__).with_name("card.md.jinja")
_NORMS = {
    "batch_stats": "by the statistics of the batch, in evaluation too",
    "batch": "batch normalisation with running statistics",
    "instance": "instance normalisation",
}
_BATCH_STATS = (
    "The network normalises by the statistics of the batch, in evaluation too: **outputs depend on what else is in the "
    'batch**. `from_pretrained(..., norm="batch")` takes the running statistics instead; then they do not, and differ.'
)


def goes_with_weights(name: str) -> bool:
    """Whether a file beside weights is their card, or says under which licence they are."""
    return _TEXT.fullmatch(name) is not None


def texts_beside(folder: Path) -> dict[str, str]:
    """Card and licence texts of a model's folder by file name; what cannot be read as a text is passed over, and so is
    a folder that is gone, such as a cache that was emptied."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with contextlib.suppress(OSError, UnicodeDecodeError):
            if goes_with_weights(path.name) and path.stat().st_size <= LONGEST_TEXT:
                found[path.name] = path.read_text(encoding="utf-8")
    return found


def notices(folder: Path, *texts: str | None) -> str | None:
    """What NOTICE of a folder has to hold so that none of the notices is lost; None: it does already."""
    there = (folder / NOTICE).read_text(encoding="utf-8", errors="replace") if (folder / NOTICE).is_file() else ""
    whole = there
    for text in texts:
        if text and text.strip() not in whole:
            whole = f"{whole.rstrip()}\n\n{text}".lstrip()
    return whole if whole != there else None


def with_base(card: str, base: str) -> str:
    """A card, and behind it the one of the weights that its own were made from, without its pictures and results."""
    body = _PICTURE.sub("", _HEAD.sub("", base.replace("\r\n", "\n"))).strip()
    return (
        f"{card.rstrip()}\n\n## The weights that these were made from\n\nWhat follows is their card. Its results are "
        f"not of the weights in this folder.\n\n<details>\n<summary>Card</summary>\n\n{body}\n\n</details>\n"
    )


class Head(Protocol):
    """What a card asks a head (`sg_hub.models.heads`)."""

    hub_task: str
    is_task: bool
    classifies: bool

    def usage(self, kind: str) -> str: ...


def build_card(
    architecture: str,
    config: Mapping[str, Any],
    *,
    parameters: int,
    usage: str,
    title: str,
    about: str,
    notes: Sequence[str] = (),
    head: Head,
    data: Mapping[str, Any] | None = None,
) -> ModelCard:
    """A card with what it is for, usage that runs, what the model expects, where it comes from, and its licence.

    Args:
        config: as config.json has it.
        parameters: how many the network has.
        usage: what `from_pretrained` is given.
        about: the first paragraph.
        notes: paragraphs after what it expects.
        head: of the model.
        data: further entries of the card's metadata, which take the place of these.
    """
    provenance = config["provenance"]
    ndim = len(config["preprocessing"]["input_size"])
    card: ModelCard = ModelCard.from_template(
        _metadata(config, ndim, {"pipeline_tag": head.hub_task} | dict(data or {})),
        template_str=_TEMPLATE.read_text(encoding="utf-8"),
        title=title,
        about=about,
        task=("To classify" if head.classifies else "To segment") if head.is_task else "",
        usage=usage,
        usage_lines=_usage_lines(head, ndim),
        expects=_expects(architecture, config, parameters, ndim),
        ndim=ndim,
        notes=[*([_BATCH_STATS] if config.get("norm") == "batch_stats" else []), *notes],
        origin=_origin(provenance),
        licence=_licence(provenance),
        citation=provenance.get("citation"),
    )
    return card


def notice_of(provenance: Mapping[str, Any]) -> str | None:
    """The text of NOTICE: under which licence weights are that say so themselves, and whose they are."""
    if not _said(provenance):
        return None
    lines = ["The weights in model.safetensors:", "", f"Licence: {_licence(provenance)}"]
    lines += [f"{name}: {value}" for name, value in _origin(provenance).items()]
    if provenance.get("citation"):
        lines += ["", str(provenance["citation"])]
    return "\n".join(lines) + "\n"


def licence_data(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a card's metadata say of the licence."""
    licence = _said(provenance)
    if licence != "other":
        return {"license": licence} if licence else {}
    data = {"license": "other", "license_name": _slug(provenance.get("licence_name") or "see-link")}
    return data | ({"license_link": provenance["licence_link"]} if provenance.get("licence_link") else {})


def licence_of(card: str) -> dict[str, Any]:
    """What the metadata of a card say of the licence; nothing where they cannot be read."""
    if not _HEAD.match(card):
        return {}
    try:
        data = ModelCard(card, ignore_metadata_errors=True).data
    except Exception:  # of the YAML parser, or ValueError: a card that anybody may have written
        return {}
    said = {key: getattr(data, key, None) for key in ("license", "license_name", "license_link")}
    return {key: value for key, value in said.items() if value}


def _said(provenance: Mapping[str, Any]) -> Any:
    licence = provenance.get("licence")
    return None if licence == "unknown" else licence


def _slug(name: object) -> str:
    return str(name).lower().replace(" ", "-")


def _metadata(config: Mapping[str, Any], ndim: int, more: Mapping[str, Any]) -> ModelCardData:
    provenance = config["provenance"]
    tags = ["medical-imaging", f"{ndim}d", str(config["preprocessing"]["modality"]).lower()]
    if provenance.get("checkpoint"):
        tags.append(_slug(provenance["checkpoint"]))
    return ModelCardData(**{**licence_data(provenance), "library_name": "sg_hub", "tags": tags, **more})


def _usage_lines(head: Head, ndim: int) -> list[str]:
    kind, file = ("image", "xray.png") if ndim == 2 else ("scan", "ct.nii.gz")
    return [f'{kind} = sg_hub.load_{kind}("{file}")', head.usage(kind)]


def _expects(architecture: str, config: Mapping[str, Any], parameters: int, ndim: int) -> dict[str, str]:
    settings = config["preprocessing"]
    size, spacing = " x ".join(map(str, settings["input_size"])), settings.get("spacing")
    unit = " HU" if settings["modality"] == "CT" and settings["intensity"] == "window" else ""
    scaled = "" if settings["intensity"] == "zscore" else ", scaled to 0..1"
    classes = f", {config['num_classes']} outputs" if config["num_classes"] else ""
    names = ", ".join(config.get("class_names") or ())
    window = f"{settings['intensity']} {settings['low']} to {settings['high']}{unit}{scaled}"
    expects = {
        "architecture": f"{architecture}, {parameters:,} parameters, head `{config['head']}`{classes}",
        "classes": names,
        "axes": "(N, C, H, W), rows downwards"
        if ndim == 2
        else "(N, C, X, Y, Z): x to the patient's left, y to posterior, z to superior",
        "channels": str(config["in_chans"]),
        "intensities": f"{settings['modality']}, {window}",
        "spacing": (f"{' x '.join(map(str, spacing))} mm" if spacing else "each scan's own")
        if ndim == 3 and not settings.get("size")
        else "",
        "resized to": f"{' x '.join(map(str, settings['size']))} voxels, each scan as a whole"
        if ndim == 3 and settings.get("size")
        else "",
        "size": f"trained on {size} {'pixels' if ndim == 2 else 'voxels'}",
        "normalisation": _NORMS.get(config.get("norm", ""), ""),
    }
    return {name: value for name, value in expects.items() if value}


def _origin(provenance: Mapping[str, Any]) -> dict[str, str]:
    """What is known of where weights come from, but for the licence; many patients are a number."""
    found = {}
    for key, value in provenance.items():
        if key.startswith("licence") or key == "citation" or value in (None, "", [], {}):
            continue
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and (len(value) > 8 or key == "patients"):
            text = str(len(value))
        found["hashes of images" if key == "images" else key.replace("_", " ")] = shortened(text)  # one may have two
    return found


def _licence(provenance: Mapping[str, Any]) -> str:
    licence = _said(provenance)
    if not licence:
        return "Nobody said under which: put it into `model.provenance` before the weights are shared."
    if licence != "other":
        return f"{licence}. It holds for the weights, and for all that is made of them as far as it says so."
    name, link = provenance.get("licence_name") or "its own", provenance.get("licence_link")
    terms = provenance.get("licence_terms", "")
    where = f", see {link}" if link else ""
    return f"{name}{where}. {terms} It holds for these weights as for those that they were made of."
