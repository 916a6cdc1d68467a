"""sg-hub models: what is registered."""

from __future__ import annotations

import argparse
import sys

from sg_hub.hub.registry import get_weights, list_models


def run(options: argparse.Namespace) -> None:
    names = list_models()
    if not names:
        print("no models are registered in this installation", file=sys.stderr)
    for name in names:
        weights = get_weights(name)
        where = "shipped" if weights.folder else weights.repo_id or "not in this installation"
        if weights.how_to_get:
            where = "to be converted"
        size = f"{weights.size_mb:g} MB" if weights.size_mb else "size unknown"
        print(f"{name:28} {weights.architecture:18} {where}, {size}, licence {weights.licence}")
        print(f"    {weights.description}")
        if weights.how_to_get:
            print(f"    {weights.how_to_get}")
