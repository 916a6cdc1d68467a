"""What a key means and takes, in words; and what is wrong with a file, all of it, in the words of its keys."""

from typing import Annotated, Literal

import pytest
from pydantic import Field, PositiveInt, ValidationError

from training.methods.registry import method_class, methods
from training.run.explain import keys_of, problems, toml_text
from training.run.recipe import Recipe
from training.run.settings import Section
from training.targets.readers import reader_class, reader_names


class Inner(Section):
    size: tuple[PositiveInt, PositiveInt] = Field(examples=[[8, 8]])
    """Rows and columns. A second sentence."""
    share: float = Field(default=0.5, ge=0, lt=1)
    """How much."""


class Outer(Section):
    name: str = Field(examples=["liver"])
    """What it is called."""
    kind: Literal["a", "b"] | None = None
    """Which of two."""
    numbers: dict[str, int | list[int]] = Field(default={})
    """Of each class."""
    sides: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """Of a box."""
    inner: Inner = Inner(size=(1, 1))


KEYS = {key.place: key for key in keys_of(Outer)}


@pytest.mark.parametrize(
    ("place", "expected", "example"),
    [
        ("name", "a text", 'name = "liver"'),
        ("kind", '"a" or "b"', ""),
        ("numbers", "a table { name = whole number or a list of whole numbers }", ""),
        ("sides", "a list of numbers above 0", ""),
        ("inner.size", "a list of 2 whole numbers above 0", "size = [8, 8]"),
        ("inner.share", "a number from 0 below 1", "share = 0.5"),
    ],
)
def test_keys_in_words(place, expected, example):
    assert (KEYS[place].expected, KEYS[place].example) == (expected, example)


def test_everything_that_is_wrong_is_said_at_once():
    wrong = {"kind": "c", "numbers": {"liver": "x"}, "inner": {"size": [0, 8], "shar": 1}, "share": 1}
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(wrong)
    assert sorted(problems(Outer, caught.value)) == [
        "inner.shar: there is no such key; did you mean share? (how much), such as share = 0.5",
        "inner.size[0] = 0: expected a list of 2 whole numbers above 0 (rows and columns), such as size = [8, 8]",
        'kind = "c": expected "a" or "b" (which of two)',
        'name is missing, expected a text (what it is called), such as name = "liver"',
        'numbers.liver = "x": expected a table { name = whole number or a list of whole numbers } (of each class)',
        "share: there is no such key; did you mean inner.share, in the section [inner]?",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ('ä "b"', '"ä \\"b\\""'),
        ((1, 2.5), "[1, 2.5]"),
        ({"spinal cord": 1, "jaw": [2]}, '{ "spinal cord" = 1, jaw = [2] }'),
        ({}, "{}"),
    ],
)
def test_values_as_toml(value, text):
    assert toml_text(value) == text


SETTINGS = {
    "recipe": Recipe,
    **{f"reader {name}": reader_class(name, "") for name in reader_names()},
    **{f"method {name}": method_class(name).Settings for name in methods()},
}


@pytest.mark.parametrize("model", SETTINGS.values(), ids=SETTINGS)
def test_every_key_says_what_it_means(model):
    assert [key.place for key in keys_of(model) if not key.meaning] == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"nme": "liver"},
            ['nme: there is no such key; did you mean name? (what it is called), such as name = "liver"'],
        ),
        ({"name": "liver", "inner": {"sise": [8, 8]}}, ["inner.sise: there is no such key; did you mean size?"]),
        ({"nothing": 1}, ["name is missing", "nothing: there is no such key"]),
    ],
)
def test_a_key_that_was_misspelt_is_not_missing_too(given, said):
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(given)
    found = problems(Outer, error.value)
    assert len(found) == len(said)
    assert all(line.startswith(start) for line, start in zip(sorted(found), said, strict=True)), found
