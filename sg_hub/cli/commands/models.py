"""sg-hub models: which families of networks there are, and which weights."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from sg_hub.cli.inputs import say_json
from sg_hub.conversion import catalogue

_WIDEST, _NARROWEST = 120, 40
_WHOLE: Any = {"break_long_words": False, "break_on_hyphens": False}  # links and commands are copied


def run(options: argparse.Namespace) -> None:
    if options.markdown:
        print(catalogue.markdown(), end="")
        return
    families, weights = catalogue.listed_families(), catalogue.listed_weights()
    if options.json:
        say_json({"families": families, "weights": weights, "measured": catalogue.costs()["measured"]})
        return
    print("Families of networks\n")
    for one in families:
        _say(
            f"{one['family']}: {one['title']}", [f"{one['dimensions']}D: {one['expects']}", f"source: {one['source']}"]
        )
        _say("", [f"licence: {one['licence']}"])
    print("\nWeights\n")
    for one in weights:
        say_weights(one)
    if not weights:
        print("no models are registered in this installation", file=sys.stderr)
    print()
    _say(catalogue.origin_of_costs(), [])


def say_weights(one: Mapping[str, Any]) -> None:
    """What is known of a set of weights, as `catalogue.listed_weights` gives it."""
    about = [one["description"], catalogue.expectations(one), catalogue.cost(one), f"licence {one['licence']}"]
    _say(f"{one['name']} ({one['family']}), {one['status']}", [*about, f"to get them: {one['how_to_get']}"])


def _say(title: str, lines: Iterable[str]) -> None:
    """A title and indented lines, wrapped to the terminal."""
    width = min(_WIDEST, max(_NARROWEST, shutil.get_terminal_size().columns))
    for text, indent in ((title, ""), *((line, "    ") for line in lines)):
        if text:
            print(textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent or "    ", **_WHOLE))
