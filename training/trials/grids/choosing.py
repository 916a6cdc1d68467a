"""Settings of an initialisation's own: chosen on the validation patients, by the same runs for every initialisation.

The named set (`variant.VARIANTS`) is run for a third of the steps; the best of it for all steps. What counts is the
validation metric at the end, where the learning rate has fallen to 0: a look at the middle of a schedule is none of one
that ends there. Runs that choose have a draw of labels and batches that no trial has, and never see the test part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..trial import Trial
from ..variant import SHORT, VARIANTS, Variant
from .results import Row

NUMBER = 1_000_000
"""Of the runs that choose: no trial has it."""
FINALISTS = 2
"""Variants that are run for all steps."""
RUNS = len(VARIANTS) + FINALISTS
"""That one choice takes."""


def short_runs(cell: Trial) -> list[Trial]:
    """What one choice begins with."""
    return [_run(cell, replace(variant, share=SHORT)) for variant in VARIANTS]


def long_runs(cell: Trial, chosen: Mapping[str, Row]) -> list[Trial]:
    """The best of them, for all steps; none where not all of them are there.

    Args:
        chosen: rows of the runs that were done, by key.
    """
    short = short_runs(cell)
    if any(run.key not in chosen for run in short):
        return []
    return [_run(cell, replace(_variant(run), share=1.0)) for run in _ranked(short, chosen)[:FINALISTS]]


def choose(cell: Trial, chosen: Mapping[str, Row]) -> Variant | None:
    """The best of all runs; none where not all of them are there."""
    runs = [*short_runs(cell), *long_runs(cell, chosen)]
    if len(runs) < RUNS or any(run.key not in chosen for run in runs):
        return None
    return _variant(_ranked(runs, chosen)[0])


def _variant(run: Trial) -> Variant:
    return run.own or Variant()


def _run(cell: Trial, variant: Variant) -> Trial:
    return replace(cell, number=NUMBER, own=variant, chooses=True)


def _ranked(runs: Sequence[Trial], chosen: Mapping[str, Row]) -> list[Trial]:
    return sorted(runs, key=lambda run: -chosen[run.key]["value"])  # of equal ones the first of the set
