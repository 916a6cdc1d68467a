"""What there is: the target tasks that ship, and what of one is on this disk."""

from __future__ import annotations

import csv
import io
from collections import Counter

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path, write_atomic

from ..targets import in_parts, list_targets, load_target
from ..targets.export import check_new, export_images
from .task.prepared_task import scored_classes


def overview(
    name: str | None = None,
    overrides: list[str] | tuple[str, ...] = (),
    split: str | None = None,
    images: str | None = None,
    *,
    progress: bool = True,
) -> str:
    """A list of the shipped targets; or items, patients and classes by part of one, and why others are left out.

    Args:
        name: TOML file or shipped name.
        split: CSV to write with the columns patient and split, as a recipe of pre-training takes it.
        images: folder to write its images to, without their labels: see `export_images`.

    Raises:
        InvalidInputError, ReadError: see `Target.split_items` and `scored_classes`.
    """
    if images is not None:
        check_new(images)
    if name is None:
        if split is not None or images is not None or overrides:
            raise InvalidInputError("--split, --images and key=value are of one target: name it")
        targets = [load_target(known) for known in list_targets()]
        return "\n".join(f"{t.name:22} {t.code:4} {t.ndim}D {t.head:15} {t.metric:5} {t.title}" for t in targets)
    target = load_target(name, overrides)
    found = target.split_items()
    scored_classes(target, found.items)
    lines = [f"{target.name}: {target.title}", target.description]
    for part, items in in_parts(found.items).items():
        line = f"{part}: {len(items)} items of {len({item.patient for item in items})} patients"
        counts: Counter[str] = Counter()
        for item in items:
            if isinstance(item.label, int):
                counts[target.classes[item.label]] += 1
            elif isinstance(item.label, tuple):
                counts.update(name for name, value in zip(target.classes, item.label, strict=True) if value)
        lines.append(line + "".join(f", {count} {name}" for name, count in sorted(counts.items())))
    reasons = Counter(found.skipped.values())
    lines += [f"left out: {count} ({why})" for why, count in reasons.most_common(10)]
    if split is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("patient", "split"))
        writer.writerows(sorted({(item.patient, item.split) for item in found.items}))
        write_atomic(given_path(split, "the file of the split"), text.getvalue())
    if images is not None:
        written = export_images(target, found.items, images, progress=progress)
        lines.append(f"{written}: the images, and split.csv")
    return "\n".join(lines)
