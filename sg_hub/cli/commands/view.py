"""sg-hub view: a page in a browser on this machine, to scroll through scans and see what networks make of them."""

from __future__ import annotations

import argparse
from importlib import import_module

from sg_hub.cli.browser import open_page
from sg_hub.cli.inputs import all_scans, load_model, reading_of
from sg_hub.devices import device_of
from sg_hub.models import from_pretrained
from sg_hub.signals import Terminated
from sg_hub.view.server import Server
from sg_hub.view.session import Session


def run(options: argparse.Namespace) -> None:
    model = load_model(options)
    segmenter = from_pretrained(options.segmenter).to(device_of(options.device)) if options.segmenter else None
    with Session(model, segmenter, reading_of(model, options)) as session:
        if options.samples:
            session.add([import_module("sg_hub.training.demo.demo").SAMPLES / "openkbp" / "ct"])
        if options.scans or options.list is not None:
            session.add(all_scans(model, options, apart=False))  # which names each by its description
        with Server(session, options.port) as server:
            print(f"{server.address}\nOpen this address in a browser on this machine. Ctrl-C ends it.", flush=True)
            if options.browser:
                open_page(server.address)
            try:
                server.serve_forever()
            except Terminated:
                raise
            except KeyboardInterrupt:
                print("\nEnded; what was uploaded is removed.")
