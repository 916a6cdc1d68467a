"""Where what the tests read lies."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO_SAMPLES = ROOT / "training" / "demo" / "samples"
"""Scans and images that ship with the demo."""
TEST_SAMPLES = ROOT / "tests" / "samples"
"""What nothing but the tests reads."""
