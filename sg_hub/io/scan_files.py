"""Which files a scan or an image is read from."""

from __future__ import annotations

from pathlib import Path

from sg_hub.errors import SgHubError
from sg_hub.io.formats import meta_image, nrrd
from sg_hub.io.formats.data_files import named_file
from sg_hub.io.formats.nifti import pair_of


def files_of(path: Path) -> list[Path]:
    """The files that are read with a path: those in a folder, and of a header those of its voxels, after it.

    What is not there is left out, and where a header cannot be followed it stands alone: reading it says why.
    """
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    name = path.name.lower()
    files = [path]
    try:
        if name.endswith(meta_image.SUFFIXES):
            files += [named_file(path, entry, outside=True) for entry in meta_image.data_names(path)]
        elif name.endswith(nrrd.SUFFIXES):
            files += [named_file(path, entry, outside=True) for entry in nrrd.data_names(path)]
        elif name.endswith((".hdr", ".img", ".hdr.gz", ".img.gz")):
            files = pair_of(path)
    except (SgHubError, OSError):
        pass
    return [file for file in files if file.is_file()]
