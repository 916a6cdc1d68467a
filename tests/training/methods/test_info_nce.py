"""InfoNCE both ways against its plain definition."""

import pytest
import torch
import torch.nn.functional as F

from sg_hub.errors import InvalidInputError
from training.methods.info_nce import LEAST_TEMPERATURE, info_nce
from training.methods.registry import build


def made(count, dtype=torch.float32, seed=0):
    """Vectors of length one, which pairs do not count, and weights of some others."""
    noise = torch.Generator().manual_seed(seed)
    first, second = (F.normalize(torch.randn(count, 8, generator=noise, dtype=dtype), dim=1) for _ in range(2))
    other = torch.rand(count, count, generator=noise).triu(1)
    other = (other + other.T).fill_diagonal_(0.5)
    left_out, equal = other < 0.2, (other > 0.8).to(dtype)
    equals = 0.4 * equal / equal.sum(1, keepdim=True).clamp(min=1)
    return first.requires_grad_(), second.requires_grad_(), left_out, equals.diagonal_scatter(1 - equals.sum(1))


def plain(first, second, temperature, left_out, equals):
    logits = (first @ second.T / temperature).masked_fill(left_out, -1e4)
    wanted = torch.arange(len(first)) if equals is None else equals
    return (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted)) / 2


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("temperature", [LEAST_TEMPERATURE, 0.1, 1.0])
def test_it_and_its_gradient_are_those_of_the_definition(temperature, weighed):
    first, second, left_out, equals = made(200)
    given = (first, second, temperature, left_out, equals if weighed else None)
    found, expected = info_nce(*given), plain(*given)
    torch.testing.assert_close(found, expected)
    gradients = (torch.autograd.grad(3 * loss, (first, second)) for loss in (found, expected))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighed", [False, True])
def test_its_gradient_is_that_of_its_value(weighed):
    first, second, left_out, equals = made(7, torch.float64)
    assert torch.autograd.gradcheck(
        lambda one, other: info_nce(one, other, 0.3, left_out, equals if weighed else None), (first, second)
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_the_least_temperature_stays_within_single_precision(sign):
    """All alike, and each the opposite of its own."""
    first = F.normalize(torch.ones(4096, 4), dim=1).requires_grad_()
    loss = info_nce(first, sign * first.detach(), LEAST_TEMPERATURE, torch.zeros(4096, 4096, dtype=torch.bool), None)
    (gradient,) = torch.autograd.grad(loss, first)
    assert loss.item() == pytest.approx(torch.tensor(4096.0).log().item(), rel=1e-4)
    assert torch.isfinite(gradient).all()


def test_a_lower_temperature_is_refused():
    with pytest.raises(InvalidInputError, match="temperature"):
        build({"name": "dense_contrast", "temperature": 0.01})
