"""Random numbers that depend on what they are for."""

import numpy as np
import torch

from training.run.seeds import generator, permutation, rng, seed_of


def test_the_place_decides():
    places = [(1, "epoch", 2), (1, "epoch", 3), (2, "epoch", 2), (1, "epoc", 2), ("1", "epoch", 2)]
    assert len({seed_of(*place) for place in places}) == len(places)
    assert all(0 <= seed_of(*place) < 2**63 for place in places)
    assert seed_of(1, "epoch", 2) == seed_of(1, "epoch", 2)


def test_what_was_drawn_before_does_not_count():
    first = torch.rand(3, generator=generator("cpu", 5, "x"))
    torch.rand(100)
    assert torch.equal(torch.rand(3, generator=generator("cpu", 5, "x")), first)
    np.testing.assert_array_equal(rng(5, "x").random(3), rng(5, "x").random(3))
    order = permutation(50, 5, "x")
    assert sorted(order) == list(range(50))
    assert list(order) != list(range(50))
    np.testing.assert_array_equal(order, permutation(50, 5, "x"))
