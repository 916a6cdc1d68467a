"""Opening a page in the user's browser, where there is a screen to see it on."""

from __future__ import annotations

import os
import sys
import webbrowser


def open_page(address: str) -> bool:
    """Whether the page was opened: not on a machine without a screen, where text browsers would take the terminal."""
    seen = sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    return seen and webbrowser.open(address)
