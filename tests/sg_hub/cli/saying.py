"""What the tests of several commands need."""

import numpy as np
import SimpleITK as sitk

from sg_hub import Preprocessing
from tests.support.folders import DEMO_SAMPLES

CT, OTHER_CT = (str(path) for path in sorted((DEMO_SAMPLES / "openkbp" / "ct").glob("*.nii.gz"))[:2])
XRAYS = [str(path) for path in sorted((DEMO_SAMPLES / "chestxray14" / "images").glob("*.png"))]
PREPROCESSING = Preprocessing(input_size=(32, 32, 16), spacing=(8, 8, 6))


def assert_mistake(result, *words):
    """Exit code 2, nothing on standard output, and one line that names the words."""
    code, out, error = result
    assert code == 2
    assert out == ""
    assert error.startswith("sg-hub: error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


def image(path, array, **settings):
    """Write (z, y, x) as a scan."""
    result = sitk.GetImageFromArray(array, **settings)
    sitk.WriteImage(result, str(path))
    return path


def noise(*shape):
    return np.random.default_rng(0).normal(0, 300, shape).astype(np.float32)


def middle_of(scan, path):
    """Write the middle half of each side of a scan, in its own place: an eighth of the voxels; the new file."""
    whole = sitk.ReadImage(scan)
    size = [side // 2 for side in whole.GetSize()]
    sitk.WriteImage(sitk.RegionOfInterest(whole, size, [side // 2 for side in size]), str(path))
    return str(path)
