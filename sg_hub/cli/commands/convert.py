"""sg-hub convert: a published checkpoint to a model folder."""

from __future__ import annotations

import argparse
import json

from sg_hub.conversion.convert import convert
from sg_hub.models.heads import head_of


def run(options: argparse.Namespace) -> None:
    folder = convert(options.file, options.out_dir, norm=options.norm)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    provenance = config["provenance"]
    called = "classes" if head_of(config["head"]).is_task else "patterns"
    classes = f", {config['num_classes']} {called}" if config["num_classes"] else ", no classifier"
    print(f"{provenance['checkpoint']}: head {config['head']}{classes}, norm {config.get('norm', 'its own')}")
    if provenance["left_out"]:
        print(f"left out: {', '.join(provenance['left_out'])}")
    print(f"licence: {provenance['licence_name']}, {provenance['licence_link']}: {provenance['licence_terms']}")
    print(folder)
