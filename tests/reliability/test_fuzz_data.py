"""A small share of the fuzzing of what training reads; `python -m tests.reliability` does more."""

import pytest

from tests.reliability.fuzz_data import PARSERS, inputs
from tests.reliability.harness import run

SHARE = 40
"""Inputs of each kind."""


@pytest.mark.parametrize("kind", PARSERS)
def test_damaged_files_are_read_or_refused_in_words(kind):
    counts = run(PARSERS[kind], inputs(kind, SHARE))
    assert counts.total == SHARE
    assert counts.bad == 0, f"{counts}: {counts.examples}"
    assert counts.classes["clear"] > SHARE / 10


def test_inputs_can_be_made_again():
    for kind in PARSERS:
        one, other = list(inputs(kind, 4, seed=5)), list(inputs(kind, 4, seed=5))
        assert [(entry.name, entry.files) for entry in one] == [(entry.name, entry.files) for entry in other]
