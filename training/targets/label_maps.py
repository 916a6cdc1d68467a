"""Targets whose labels are maps: files of the size of their image, with a number per voxel."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from .protocol import Target


class LabelMapTarget(Target):
    """Says which numbers of the label maps are which class."""

    WHOLE_SCANS: ClassVar[bool] = True

    values: dict[str, int | list[int]] = Field(default={})
    """Number, or numbers, of each class; absent: 1, 2, ... in the order of the classes."""

    @model_validator(mode="after")
    def _every_class_has_numbers(self) -> LabelMapTarget:
        if self.head != "segmentation" or not self.values:
            return self
        unknown = [name for name in self.values if name not in self.classes]
        missing = [name for name in self.classes if name not in self.values]
        if unknown:
            raise ValueError(f"values: {unknown[0]!r} is none of the classes {list(self.classes)}")
        if missing:
            raise ValueError(f"values: no number for the class {missing[0]!r}; write values = {{ {missing[0]!r} = 1 }}")
        return self

    @property
    def numbers(self) -> list[list[int]]:
        """Of the label maps, by class."""
        given = [self.values.get(name, number) for number, name in enumerate(self.classes, 1)]
        return [[value] if isinstance(value, int) else value for value in given]
