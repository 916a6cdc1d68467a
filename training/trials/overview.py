"""What there is: the target tasks that ship, and what of one is on this disk."""

from __future__ import annotations

import csv
import io
from collections import Counter
from pathlib import Path

from sg_hub.io.files import write_atomic

from ..targets import in_parts, list_targets, load_target
from .task import find_task


def overview(name: str | None = None, overrides: list[str] | tuple[str, ...] = (), split: str | None = None) -> str:
    """A list of the shipped targets; or cases, patients and classes by part of one, and why others are left out.

    Args:
        name: TOML file or shipped name.
        split: CSV to write with the columns patient and split, as a recipe of pre-training takes it.

    Raises:
        InvalidInputError, ReadError: see `find_task`.
    """
    if name is None:
        targets = [load_target(known) for known in list_targets()]
        return "\n".join(f"{t.name:22} {t.code:4} {t.ndim}D {t.head:15} {t.metric:5} {t.title}" for t in targets)
    target, found = find_task(name, overrides=overrides)
    lines = [f"{target.name}: {target.title}", target.description]
    for part, cases in in_parts(found.cases).items():
        line = f"{part}: {len(cases)} cases of {len({case.patient for case in cases})} patients"
        counts: Counter[str] = Counter()
        for case in cases:
            if isinstance(case.label, int):
                counts[target.classes[case.label]] += 1
            elif isinstance(case.label, tuple):
                counts.update(name for name, value in zip(target.classes, case.label, strict=True) if value)
        lines.append(line + "".join(f", {count} {name}" for name, count in sorted(counts.items())))
    reasons = Counter(found.skipped.values())
    lines += [f"left out: {count} ({why})" for why, count in reasons.most_common(10)]
    if split is not None:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("patient", "split"))
        writer.writerows(sorted({(case.patient, case.split) for case in found.cases}))
        write_atomic(Path(split), text.getvalue())
    return "\n".join(lines)
