"""The commands for a published folder: card and upload."""

from __future__ import annotations

import argparse
from pathlib import Path

from sg_hub.errors import InvalidInputError, shortened

from .first_process import in_first_process


@in_first_process
def card(options: argparse.Namespace) -> None:
    from ..publishing.rebuild import build_card
    from ..publishing.transfer import take_results

    if options.results:
        take_results(options.folder, options.results)
    print(build_card(options.folder))


@in_first_process
def upload(options: argparse.Namespace) -> None:
    send(options.folder, options)


def send(folder: str | Path, options: argparse.Namespace) -> None:
    """To the hub repository of the options."""
    from ..publishing.upload import upload_folder

    chosen = {name: getattr(options, name) for name in ("private", "progress", "pictures")}
    print(upload_folder(folder, options.to, **chosen, dry_run=getattr(options, "dry_run", False)))


def check_upload(options: argparse.Namespace) -> None:
    """Raises: InvalidInputError: an option of the upload and nowhere to upload to, or an id that no hub has."""
    for option in ("private", "pictures"):
        if getattr(options, option) and not options.to:
            raise InvalidInputError(f"--{option} is for the upload: give --to REPO_ID with it")
    if options.to:
        from huggingface_hub.utils import HFValidationError, validate_repo_id

        try:
            validate_repo_id(options.to)
        except HFValidationError as error:
            raise InvalidInputError(f"--to {options.to}: expected OWNER/NAME ({shortened(error)})") from None
