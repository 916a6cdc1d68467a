"""Where what the tests read lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO_SAMPLES = ROOT / "training" / "demo" / "samples"
"""Scans and images that ship with the demo."""
TEST_SAMPLES = ROOT / "tests" / "samples"
"""What nothing but the tests reads."""


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path below it."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
