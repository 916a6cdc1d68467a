"""A data set in the Brain Imaging Data Structure: `sub-01[/ses-01]/anat/sub-01[_ses-01]_T1w.nii.gz`.

Segmentation: label maps lie below `derivatives` (or wherever `labels` says), `..._dseg.nii.gz` with a number for each
class (`values`) or `..._desc-lesion_mask.nii.gz` with one class. A label map belongs to the
image of the same subject, session, run and other entities; one that was made in another space (`space-MNI152...`) does
not. Classification: `column` of `participants.tsv`, one class a subject. All sessions and runs of a subject stay
together: a subject is the patient.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.finder import walk

from ...data.csv_table import read_csv
from ..defaults import AnyPreprocessing, as_weights_expect
from ..items import Found, Item, LoadedItem
from ..label_maps import LabelMapTarget, load_channels
from ..on_grid import scan_on_grid

PARTICIPANTS = "participants.tsv"
_NAME = re.compile(
    r"(?P<entities>sub-[A-Za-z0-9+]+(_[A-Za-z0-9]+-[A-Za-z0-9+]+)*)_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?"
)
_OF_LABELS = ("space", "desc", "label", "res", "den", "seg", "atlas")
"""Entities that say what a derivative is, and not which image it is of."""
_OWN_SPACES = ("orig", "individual")
"""What a space is called that is the image's own; the image's suffix, such as T1w, is another word for it."""
_MISSING = ("", "n/a", "N/A")


class Bids(LabelMapTarget):
    """Images of subjects, with label maps or classes."""

    datatype: str = "anat"
    """Folder of the images within a subject, or a session."""
    images: tuple[str, ...] = Field(default=("T1w",), examples=[["T1w", "FLAIR"]])
    """Suffixes of the images; of several each is a channel, in this order."""
    labels: str = Field(default="derivatives", examples=["derivatives/lesion-masks"])
    """Folder of the label maps, below root or absolute: one pipeline, or all of them where one alone has label maps."""
    labels_suffix: Literal["dseg", "mask"] = "dseg"
    """Whether label maps are segmentations of several classes (`dseg`) or of one (`mask`)."""
    desc: str | None = Field(default=None, examples=["lesion"])
    """`desc-` of the label maps, where there are several kinds; absent: any."""
    label: str | None = Field(default=None, examples=["WM"])
    """`label-` of the label maps, where there are several kinds; absent: any."""
    column: str = Field(default="group", examples=["diagnosis"])
    """Column of participants.tsv with the class of a subject, for a classification."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {"title": values.get("name", ""), "dataset": values.get("name", "")} | values

    @classmethod
    def completed(
        cls, values: dict[str, Any], weights: Sequence[AnyPreprocessing]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A channel for each suffix; the rest is as the weights expect it."""
        images = values.get("images", ("T1w",))
        count = len(images) if isinstance(images, (list, tuple)) else 1
        return as_weights_expect({"channels": count} | values, 3, weights)

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        subjects = sorted(place.name for place in folder.glob("sub-*") if place.is_dir())
        if not subjects:
            raise ReadError(f"{folder} holds no folders sub-*: give root=FOLDER of a data set in BIDS")
        scans = self._scans(folder, subjects)
        if not scans:
            wanted = f"sub-*/{self.datatype}/*_{self.images[0]}.nii.gz"
            raise ReadError(f"{folder} holds no {wanted}: say in `images` and `datatype` which images are meant")
        classes = self._classes_of(folder) if self.head == "classification" else {}
        masks = self._masks(folder) if self.head == "segmentation" else {}
        for key, files in scans.items():
            name, subject = _text(key), f"sub-{dict(key)['sub']}"
            missing = [suffix for suffix in self.images if suffix not in files]
            label: int | str | None = None
            if missing:
                found.skipped[name] = f"no {missing[0]} image"
                continue
            if self.head == "classification":
                label = classes.get(subject)
                reason = f"{PARTICIPANTS} has no {self.column} of {subject}"
            else:
                label, reason = self._mask_of(key, masks)
            if label is None:
                found.skipped[name] = reason
                continue
            first, *others = (str(files[suffix]) for suffix in self.images)
            found.items.append(Item(name, subject, first, label, sequences=tuple(others)))
        return found

    def load(self, item: Item) -> LoadedItem:
        if self.head == "segmentation":
            return super().load(item)
        return scan_on_grid(self, load_channels(item.image, item.sequences), np.array(item.label))

    def _scans(self, folder: Path, subjects: Sequence[str]) -> dict[_Key, dict[str, Path]]:
        """Images by their entities, and by their suffixes."""
        found: dict[_Key, dict[str, Path]] = {}
        for subject in subjects:
            for place, names in walk(folder / subject):
                if place.name != self.datatype:
                    continue
                for name in names:
                    match = _NAME.fullmatch(name)
                    if match is None or match["suffix"] not in self.images:
                        continue
                    key = _key(match["entities"])
                    other = found.setdefault(key, {}).setdefault(match["suffix"], place / name)
                    if other != place / name:
                        raise InvalidInputError(f"{other} and {place / name} are the same image twice: leave one")
        return dict(sorted(found.items()))

    def _masks(self, folder: Path) -> dict[_Key, list[tuple[str, Path]]]:
        """Label maps by the entities of their images, each with its space."""
        place = folder / self.labels
        if not place.is_dir():
            raise ReadError(f"{place} is no folder: say in `labels` where the label maps lie")
        found: dict[_Key, list[tuple[str, Path]]] = {}
        for where, names in walk(place):
            for name in names:
                match = _NAME.fullmatch(name)
                if match is None or match["suffix"] != self.labels_suffix:
                    continue
                entities = dict(_key(match["entities"]))
                wanted = (("desc", self.desc), ("label", self.label))
                if any(value is not None and entities.get(entity) != value for entity, value in wanted):
                    continue
                key = tuple((entity, value) for entity, value in entities.items() if entity not in _OF_LABELS)
                found.setdefault(key, []).append((entities.get("space", ""), where / name))
        if not found:
            kind = "".join(f"_{key}-{value}" for key, value in (("desc", self.desc), ("label", self.label)) if value)
            raise ReadError(f"{place} holds no *{kind}_{self.labels_suffix}.nii.gz: expected the label maps there")
        return found

    def _mask_of(self, key: _Key, masks: Mapping[_Key, list[tuple[str, Path]]]) -> tuple[str | None, str]:
        """The label map of an image, or why there is none.

        Raises:
            InvalidInputError: there are several.
        """
        own = ("", *_OWN_SPACES, *self.images)
        found = masks.get(key, [])
        fitting = [path for space, path in found if space in own]
        if len(fitting) > 1:
            raise InvalidInputError(
                f"{_text(key)} has several label maps, {fitting[0]} and {fitting[1]}: say in `labels` (a pipeline's "
                "folder), `desc` or `label` which of them is meant"
            )
        if found and not fitting:
            return None, f"its label maps are in another space ({', '.join(sorted({space for space, _ in found}))})"
        return (str(fitting[0]), "") if fitting else (None, f"no label map in {self.labels}")

    def _classes_of(self, folder: Path) -> dict[str, int]:
        """Class of every subject that has one.

        Raises:
            ReadError: the table is missing, or lacks the column.
            InvalidInputError: another class, or two for one subject.
        """
        found: dict[str, int] = {}
        for row in read_csv(folder / PARTICIPANTS, ("participant_id", self.column)):
            subject, value = row["participant_id"], row[self.column]
            if value in _MISSING:
                continue
            if value not in self.classes:
                raise InvalidInputError(
                    f"{folder / PARTICIPANTS}: {self.column} of {shortened(subject, 100)} is "
                    f"{shortened(repr(value), 100)}; expected one of {list(self.classes)}, or n/a"
                )
            number = self.classes.index(value)
            if found.setdefault(subject, number) != number:
                raise InvalidInputError(f"{folder / PARTICIPANTS}: {subject} is there twice, with two classes")
        return found


_Key = tuple[tuple[str, str], ...]
"""Entities and their values, sorted."""


def _key(entities: str) -> _Key:
    pairs = (part.partition("-") for part in entities.split("_"))
    return tuple(sorted((entity, value) for entity, _, value in pairs))


def _text(key: _Key) -> str:
    """As in the names of files: subject first, then session."""
    ordered = sorted(key, key=lambda pair: (pair[0] != "sub", pair[0] != "ses", pair[0]))
    return "_".join(f"{entity}-{value}" for entity, value in ordered)
