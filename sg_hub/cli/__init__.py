"""The commands of sg-hub: one file each, imported when it is run."""

from sg_hub.cli.run import main

__all__ = ["main"]
