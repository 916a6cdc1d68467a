"""sg-hub info: what a model is, what it expects, and where it comes from."""

from __future__ import annotations

import argparse
import json
from typing import Any

from sg_hub.cli.commands.models import say_weights
from sg_hub.cli.inputs import say_json
from sg_hub.conversion import catalogue
from sg_hub.models import from_pretrained


def run(options: argparse.Namespace) -> None:
    listed = next((one for one in catalogue.listed_weights() if one["name"] == options.model), None)
    if listed is not None and catalogue.is_to_be_converted(options.model):  # there is no model yet to be asked
        if options.json:
            say_json({"model": options.model, "architecture": listed["family"], "listed": listed})
        else:
            say_weights(listed)
        return
    model = from_pretrained(options.model)
    config = model.config()
    preprocessing, provenance = config.pop("preprocessing"), dict(config.pop("provenance"))
    patients = provenance.pop("patients", [])
    parameters = sum(p.numel() for p in model.parameters())
    encoder = {"channels": list(model.encoder.channels), "strides": list(model.encoder.strides)}
    sha256 = model.load_report.sha256 if model.load_report else None
    if options.json:
        described: dict[str, Any] = {"model": options.model, "architecture": type(model).__name__}
        described |= {"title": model.TITLE, "listed": listed}
        described |= {"parameters": parameters, "sha256": sha256, "config": config, "encoder": encoder}
        say_json(described | {"preprocessing": preprocessing, "provenance": provenance, "patients": len(patients)})
        return
    print(f"{options.model}: {type(model).__name__}, {parameters:,} parameters")
    if model.TITLE:
        print(f"  {model.TITLE} ({model.SOURCE})")
    if listed is not None:
        print(f"  costs {catalogue.cost(listed)} (`sg-hub models` says how that was measured)")
    print(f"  {model.load_report}")
    if sha256:
        print(f"  sha256 {sha256}")
    for key, value in config.items():
        print(f"  {key}: {json.dumps(value, ensure_ascii=False)}")
    print(f"  feature channels {model.encoder.channels}, strides {model.encoder.strides}")
    for section, entries in (("preprocessing", preprocessing), ("provenance", provenance)):
        for key, value in entries.items():
            print(f"  {section}.{key}: {json.dumps(value, ensure_ascii=False)}")
    if patients:
        print(f"  pre-trained on {len(patients)} patients")
