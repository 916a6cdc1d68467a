"""The commands of sg-hub."""

from sg_hub.cli.main import main

__all__ = ["main"]
