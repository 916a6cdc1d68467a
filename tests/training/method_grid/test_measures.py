"""What two weights of a grid differ by."""

import numpy as np

from training.method_grid.measures import Worth
from training.worth.rows import row


def test_of_many_comparisons_one_can_still_be_significant():
    noise = np.random.default_rng(0)
    rows = {
        name: row(
            noise.normal(mean, 0.01, (3, 6, 1)),
            key=name,
            part="frozen",
            what="probe",
            measure="iou",
            weights=name,
            draws=["0", "1", "2"],
            patients=list("abcdef"),
            classes=["organ"],
        )
        for name, mean in (("a", 0.9), ("b", 0.1))
    }
    gap = Worth(rows).gap("a", "b", comparisons=70)
    assert 70 * gap.main < 0.05
