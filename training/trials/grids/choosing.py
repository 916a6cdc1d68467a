"""Settings of an initialisation's own: chosen on the validation patients, by the same runs for every initialisation.

The named set (`variant.VARIANTS`) is run for a third of the steps; the best of it for all steps. The best third and
those are run again with other draws of labels and batches, and the mean over the draws chooses: with few labels one
draw says little, and a random network that it gives too few steps is a straw man. What counts is the validation metric
at the end, where the learning rate has fallen to 0: a look at the middle of a schedule is none of one that ends there.
Their seeds are those of no trial, though of few patients the same may be drawn, and the runs that choose never see the
test part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import mean

from ..trial import Trial
from ..variant import SHORT, VARIANTS, Variant
from .results import Row

NUMBER = 1_000_000
"""Of the runs that choose, and on from it: no trial has these."""
DRAWS = 3
"""Of labels and batches, that the last choice is made by."""
FINALISTS = 2
"""Variants that are run for all steps."""
RUNS = len(VARIANTS) + FINALISTS + (FINALISTS + 1) * (DRAWS - 1)
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


def further_runs(cell: Trial, chosen: Mapping[str, Row]) -> list[Trial]:
    """The best third, and those for all steps, with other draws; none where not all of the runs before are there."""
    return [run for _, draws in _candidates(cell, chosen) for run in draws[1:]]


def choose(cell: Trial, chosen: Mapping[str, Row]) -> Variant | None:
    """What reached most in the mean over the draws; none where not all of the runs are there."""
    candidates = _candidates(cell, chosen)
    if not candidates or any(run.key not in chosen for _, draws in candidates for run in draws):
        return None
    return max(candidates, key=lambda each: mean(chosen[run.key]["value"] for run in each[1]))[0]


def _candidates(cell: Trial, chosen: Mapping[str, Row]) -> list[tuple[Variant, list[Trial]]]:
    """Settings with their runs, one for each draw; of equal ones the first is taken."""
    long = long_runs(cell, chosen)
    if not long or any(run.key not in chosen for run in long):
        return []
    best = [_ranked(short_runs(cell), chosen)[0], *_ranked(long, chosen)]
    return [(_variant(run), [_run(cell, _variant(run), draw) for draw in range(DRAWS)]) for run in best]


def _variant(run: Trial) -> Variant:
    return run.own or Variant()


def _run(cell: Trial, variant: Variant, draw: int = 0) -> Trial:
    return replace(cell, number=NUMBER + draw, own=variant, chooses=True)


def _ranked(runs: Sequence[Trial], chosen: Mapping[str, Row]) -> list[Trial]:
    return sorted(runs, key=lambda run: -chosen[run.key]["value"])  # of equal ones the first of the set
