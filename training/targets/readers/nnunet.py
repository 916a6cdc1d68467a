"""A data set as nnU-Net (version 2) keeps it: the folder `DatasetXXX_NAME` with `dataset.json`, `imagesTr`, `labelsTr`.

A case is `imagesTr/CASE_0000.nii.gz`, `CASE_0001.nii.gz`, ... (a file for each channel of `channel_names`) and
`labelsTr/CASE.nii.gz`. Classes and their numbers are those of `labels` in dataset.json. Where there is a `labelsTs`,
its cases are the test part; else it is drawn. CT is taken as the weights expect it, other channels between their
percentiles 0.5 and 99.5, unless the TOML says otherwise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sg_hub.errors import InvalidInputError, ReadError, shortened
from sg_hub.io.finder import SCAN_SUFFIXES, plain_name

from ...run.recipe import Split
from ..defaults import AnyPreprocessing, as_weights_expect
from ..items import Found, Item, LoadedItem
from ..label_maps import LabelMapTarget

DESCRIPTION = "dataset.json"
_FOLDER = re.compile(r"(Dataset|Task)\d{3}_(?P<name>.+)")
_MRI = {"intensity": "percentile", "low": 0.5, "high": 99.5}
_PARTS: tuple[tuple[str, Split], ...] = (("Tr", "train"), ("Ts", "test"))


class Nnunet(LabelMapTarget):
    """Segmentation of the cases of one folder."""

    head: Literal["segmentation"] = "segmentation"
    """A class for every voxel."""
    metric: Literal["dice", "iou"] = "dice"
    """The one that results are compared by."""
    patient: str = Field(default="", examples=["(patient\\d+)_"])
    """Regular expression whose group is the patient in a case's name, where patients have several cases; absent: every
    case is a patient of its own."""
    same_voxels: bool = False
    """Whether voxels of the same index belong together, whatever the label map's own header says."""

    @classmethod
    def completed(
        cls, values: dict[str, Any], weights: Sequence[AnyPreprocessing]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Name, channels, classes and their numbers are those of dataset.json; the rest is as the weights expect."""
        root = Path(str(values.get("root", ""))).expanduser()
        if not values.get("root") or not root.exists():
            what = f"{root} is not there (in {Path.cwd()})" if values.get("root") else "root is missing"
            raise ReadError(
                f"target {values.get('name', 'of nnU-Net')}: {what}; give root=FOLDER "
                "of a data set of nnU-Net (DatasetXXX_NAME)"
            )
        told = _description(root)
        match = _FOLDER.fullmatch(root.resolve().name)
        name = values.get("name") or (match["name"] if match else root.resolve().name)
        given = {"name": name, "title": name, "dataset": name, "channels": len(_channels(told, root))}
        numbers = _numbers(told, root) if "values" not in values else {}
        if "classes" not in values:
            given |= {"classes": list(numbers), "values": numbers} if numbers else {}
        elif numbers:
            wanted = [str(name) for name in values["classes"]] if isinstance(values["classes"], list) else []
            if unknown := [name for name in wanted if name not in numbers]:
                raise InvalidInputError(
                    f"classes {', '.join(unknown)} are none of {root / DESCRIPTION}, which has {', '.join(numbers)}; "
                    "name those, or give values = { NAME = NUMBER }"
                )
            given |= {"values": {name: numbers[name] for name in wanted}}
        values = given | values
        grid = values.get("grid", {})
        channels = [channel.upper() for channel in _channels(told, root)]
        if isinstance(grid, dict) and "intensity" not in grid and set(channels) != {"CT"}:
            values = values | {"grid": grid | {key: value for key, value in _MRI.items() if key not in grid}}
        return as_weights_expect(values, 3, weights)

    def find(self) -> Found:
        folder, found = self.folder(), Found()
        told = _description(folder)
        ending, channels = _ending(told, folder), len(_channels(told, folder))
        if channels != self.channels:
            raise InvalidInputError(f"{folder}: {channels} channels in {DESCRIPTION}, and channels = {self.channels}")
        parts = [part for part in _PARTS if (folder / f"labels{part[0]}").is_dir()]
        if ("Tr", "train") not in parts or not (folder / "imagesTr").is_dir():
            raise ReadError(f"{folder} has no imagesTr and labelsTr: expected a data set as nnU-Net keeps it")
        for kind, part in parts:
            labels = _files(folder / f"labels{kind}", ending)
            images = _files(folder / f"images{kind}", ending)
            for case in sorted({name.rpartition("_")[0] for name in images} | set(labels)):
                files = [images.get(f"{case}_{number:04d}") for number in range(channels)]
                missing = [number for number, file in enumerate(files) if file is None]
                if missing or case not in labels:
                    what = f"images{kind}/{case}_{missing[0]:04d}" if missing else f"labels{kind}/{case}"
                    found.skipped[case] = f"{what}{ending} is not there"
                    continue
                first, *others = map(str, files)
                split = part if len(parts) > 1 else None
                found.items.append(
                    Item(case, self._patient(case), first, str(labels[case]), split=split, sequences=tuple(others))
                )
        return found

    def load(self, item: Item) -> LoadedItem:
        label = str(item.label)
        return self.load_labelled(item.image, label, sequences=item.sequences, same_voxels=self.same_voxels)

    def _patient(self, case: str) -> str:
        if not self.patient:
            return case
        try:
            match = re.search(self.patient, case)
        except re.error as error:
            raise InvalidInputError(f"patient = {self.patient!r} is no regular expression: {error}") from error
        if match is None:
            raise InvalidInputError(f"patient = {self.patient!r} finds no patient in the name of case {case!r}")
        return match[1] if match.re.groups else match[0]


def _description(folder: Path) -> Mapping[str, Any]:
    """What dataset.json says.

    Raises:
        ReadError: it is missing or damaged.
        InvalidInputError: it is of another version, or of the Medical Segmentation Decathlon.
    """
    path = folder / DESCRIPTION
    try:
        told = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        inside = sorted(place.name for place in folder.glob("Dataset*") if (place / DESCRIPTION).is_file())
        hint = f"; give root={folder / inside[0]}" if inside else " as nnU-Net keeps it (DatasetXXX_NAME)"
        raise ReadError(f"{folder} has no {DESCRIPTION}: expected a data set{hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ReadError(f"{path} cannot be read ({shortened(error, 160)})") from error
    if not isinstance(told, Mapping):
        raise ReadError(f"{path} is no description of a data set")
    if "modality" in told and "channel_names" not in told:
        raise InvalidInputError(
            f"{path} is of nnU-Net's first version or of the Medical Segmentation Decathlon (modality, no "
            "channel_names): convert the folder first (nnUNetv2_convert_MSD_dataset, "
            "nnUNetv2_convert_old_nnUNet_dataset)"
        )
    return told


def _numbers(told: Mapping[str, Any], folder: Path) -> dict[str, int | list[int]]:
    """Number of each class but the background."""
    labels = told.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise ReadError(f"{folder / DESCRIPTION} has no labels: expected names and their numbers")
    found: dict[str, int | list[int]] = {}
    for name, value in labels.items():
        if name == "background":
            continue
        if value == 0 and value is not False:
            raise InvalidInputError(
                f"{folder / DESCRIPTION}: {name} has the number 0, which is the background's; call it background"
            )
        if name == "ignore":
            raise InvalidInputError(
                f"{folder / DESCRIPTION} has an ignore label ({value}), which is left out of nnU-Net's loss and would "
                f"not be here: say what those voxels are, with classes and values, and background = [{value}] if they "
                "are none"
            )
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInputError(
                f"{folder / DESCRIPTION}: {name!r} is a region of several labels ({shortened(value, 80)}), and regions "
                "overlap; a voxel has one class here: give classes and values in the target's TOML"
            )
        found[str(name)] = value
    return found


def _channels(told: Mapping[str, Any], folder: Path) -> list[str]:
    channels = told.get("channel_names")
    if not isinstance(channels, Mapping) or not channels:
        raise ReadError(f"{folder / DESCRIPTION} has no channel_names")
    return [str(channels[key]) for key in sorted(channels, key=lambda key: (len(str(key)), str(key)))]


def _ending(told: Mapping[str, Any], folder: Path) -> str:
    ending = told.get("file_ending")
    if not isinstance(ending, str) or not ending.lower().endswith(SCAN_SUFFIXES):
        raise InvalidInputError(
            f"{folder / DESCRIPTION}: file_ending {shortened(ending, 80)!r}; expected scans "
            f'({", ".join(SCAN_SUFFIXES)}); for pictures use reader = "folder" with dims = 2'
        )
    return ending


def _files(folder: Path, ending: str) -> dict[str, Path]:
    """By name without the ending."""
    if not folder.is_dir():
        return {}
    files = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return {plain_name(path.name, (ending,)): path for path in files if path.name.endswith(ending)}
