"""The comparison: which trials, and the page of what they say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sg_hub.errors import InvalidInputError
from sg_hub.io.files import given_path

from ..report.columns import columns_of
from ..targets import Target, load_target
from ..trials.grids.benchmark import Asked, run_grid
from ..trials.grids.grid import Engine
from ..trials.grids.results import Row
from ..trials.grids.walk import OWN, SAME, TrialsError
from ..trials.task.initialisation import ENCODER, RANDOM, WHOLE, kind_of, look_up, name_of
from .page import write_page

ALL = "all"
PATIENTS = ("1", "3", "10", ALL)
"""Numbers of labelled patients; all is as many as there are."""
TRIALS = 5
QUICK_TRIALS = 3
QUICK_PATIENTS = ("3", ALL)
QUICKER = 4
"""By how much a first look is shorter."""


def compare(
    target: str,
    weights: Sequence[str],
    out: str | Path,
    overrides: Sequence[str] = (),
    *,
    patients: Sequence[str] | None = None,
    protocols: Sequence[str] | None = None,
    trials: int | None = None,
    encoders: bool = False,
    quick: bool = False,
    data: str | Path | None = None,
    engine: Engine | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Run what is missing, and write the page; returns it.

    Args:
        target: TOML file or shipped name.
        weights: names or folders of weights, and `random` for a random network of the architecture of the first.
        patients: numbers of labelled patients, and `all`; absent: PATIENTS, as far as there are as many.
        protocols: same (all train as the target says), own (each with the settings that do best on the validation
            patients); absent: both.
        trials: of each cell; absent: TRIALS.
        encoders: each of the weights also with its encoder alone.
        quick: a first look: fewer trials, and a quarter of the steps, as far as it is not said otherwise.

    Raises:
        TrialsError: some trials failed; the page is of the others.
        InvalidInputError, ReadError: see `training.trials.grids.benchmark`.
    """
    out = given_path(out, "the folder of the comparison")
    inits = contenders(weights, encoders)
    asked = Asked(
        trials if trials is not None else QUICK_TRIALS if quick else TRIALS,
        *_labels(patients if patients is not None else QUICK_PATIENTS if quick else PATIENTS),
        protocols if protocols is not None else (SAME,) if quick else (SAME, OWN),
        only_what_fits=patients is None,
    )
    _check_apart(inits)
    shorter = _quicker(target, overrides, data, inits) if quick else []
    given = {"data": data, "engine": engine, "device": device, "progress": progress}
    more = [*overrides, *shorter]
    try:
        rows = run_grid([target], inits, out, asked, overrides=more, **given)  # type: ignore[arg-type]
    except TrialsError as error:
        if shared := _shared(error.rows):
            shown, refused = _for_finetune(target, more, data, inits)
            page = {"quick": quick, "failed": error.failed, "refused": refused}
            print(write_page(out, columns_of(shared), inits, target, shown, **page))  # type: ignore[arg-type]
        raise
    shown, refused = _for_finetune(target, more, data, inits)
    return write_page(out, columns_of(rows), inits, target, shown, quick=quick, refused=refused)


def contenders(weights: Sequence[str], encoders: bool) -> list[str]:
    """Initialisations, by the names of the command line.

    Raises:
        InvalidInputError: fewer than two, one twice, or `random` alone.
    """
    first = next((name for name in weights if name != RANDOM), None)
    if first is None:
        raise InvalidInputError("--weights: give weights, too; random is a network of the first one's architecture")
    found = []
    for name in weights:
        found.append(f"{RANDOM}:{name_of(first)}" if name == RANDOM else name)
        if encoders and kind_of(found[-1]) == WHOLE:
            found.append(f"{ENCODER}:{name}")
    if len(set(found)) < len(found):
        raise InvalidInputError(f"--weights {' '.join(weights)}: one is named twice")
    if len(found) < 2:
        raise InvalidInputError(f"--weights {weights[0]}: give two or more to compare, such as {weights[0]} random")
    return found


def _check_apart(inits: Sequence[str]) -> None:
    """Two names of the same weights would be one contender, after all its trials.

    Raises:
        InvalidInputError: there are two.
    """
    names: dict[str, str] = {}
    for init in inits:
        other = names.setdefault(look_up(init).fingerprint, init)
        if other != init:
            raise InvalidInputError(f"--weights: {other} and {init} are the same weights; give one of them")


def _shared(rows: Mapping[str, Row]) -> dict[str, Row]:
    """Of each cell the trials whose numbers all have that have any: they share their draws, and the mean of others may
    be above it for an easier draw alone."""
    cells: dict[tuple[Any, ...], dict[str, set[int]]] = {}
    for row in rows.values():
        cells.setdefault(_cell(row), {}).setdefault(row["init"], set()).add(row["trial"])
    return {key: row for key, row in rows.items() if row["trial"] in set.intersection(*cells[_cell(row)].values())}


def _cell(row: Row) -> tuple[Any, ...]:
    return row["target"], "own" in row, row["fraction"], row.get("labelled")


def _labels(patients: Sequence[str]) -> tuple[list[float], list[int]]:
    """Fractions and numbers of patients.

    Raises:
        InvalidInputError: neither a number nor `all`.
    """
    counts = []
    for text in patients:
        if text == ALL:
            continue
        if not text.isascii() or not text.isdigit():
            raise InvalidInputError(f"--patients {text}: expected a whole number, or {ALL}")
        counts.append(int(text))
    return [1.0] if ALL in patients else [], counts


def _quicker(target: str, overrides: Sequence[str], data: str | Path | None, inits: Sequence[str]) -> list[str]:
    steps = max(1, _read(target, overrides, data, inits).settings.steps // QUICKER)
    return [f"settings.steps={steps}", f"settings.validate_every={max(1, steps // QUICKER)}"]


def _for_finetune(
    target: str, overrides: Sequence[str], data: str | Path | None, inits: Sequence[str]
) -> tuple[list[str], str]:
    """What `sg-hub finetune`, which has no --data, is given for the same task, and why it would refuse the task."""
    read = _read(target, overrides, data, inits)
    at = [f"root={read.root}"] if data is not None and not Path(target).is_file() else []
    try:
        read.preprocessing("")
    except InvalidInputError as error:
        return [*overrides, *at], str(error)
    return [*overrides, *at], ""


def _read(target: str, overrides: Sequence[str], data: str | Path | None, inits: Sequence[str]) -> Target:
    return load_target(target, overrides, data, [look_up(init).config["preprocessing"] for init in inits])
