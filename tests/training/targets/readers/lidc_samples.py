"""Readers' outlines of LIDC-IDRI, real ones and made ones."""

import hashlib
import json

import numpy as np

from tests.support.folders import TEST_SAMPLES
from tests.training.targets.target_folders import roi, square

SERIES = "1.3.6.1.4.1.14519.5.2.1.6279.6001.77"
Z = [-100.0 + 2.5 * k for k in range(12)]
SAMPLES = TEST_SAMPLES / "lidc_idri"
PYLIDC = json.loads((SAMPLES / "expected.json").read_text(encoding="utf-8"))


def outlined(low: int, high: int, slices=(4, 5, 6)) -> list[str]:
    return [roi(Z[k], square(low, high)) for k in slices]


def digest(mask: np.ndarray) -> str:
    return hashlib.sha256(np.argwhere(mask).astype("<i4").tobytes()).hexdigest()
