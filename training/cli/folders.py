"""The commands for a published folder: card and upload."""

from __future__ import annotations

import argparse
from pathlib import Path

from sg_hub.errors import InvalidInputError


def card(options: argparse.Namespace) -> None:
    from ..publishing.pretrained_card import build_card, take_results

    if options.results:
        take_results(options.folder, options.results)
    print(build_card(options.folder))


def upload(options: argparse.Namespace) -> None:
    send(options.folder, options)


def send(folder: str | Path, options: argparse.Namespace) -> None:
    """To the hub repository of the options."""
    from ..publishing.upload import upload_folder

    print(upload_folder(folder, options.to, private=options.private, progress=options.progress))


def check_private(options: argparse.Namespace) -> None:
    """Raises: InvalidInputError: a private repository, and none to upload to."""
    if options.private and not options.to:
        raise InvalidInputError("--private is for the upload: give --to REPO_ID with it")
