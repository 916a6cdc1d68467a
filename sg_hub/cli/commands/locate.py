"""sg-hub locate: the same places in other scans, as a table and as a picture."""

from __future__ import annotations

import argparse

import numpy as np

from sg_hub.cli.inputs import Each, load_model, read, say_json
from sg_hub.cli.table import Table
from sg_hub.errors import InvalidInputError
from sg_hub.inference.locate import Locator
from sg_hub.inference.matching import FOUND
from sg_hub.io.files import check_output
from sg_hub.io.scan import Scan

_COLUMNS = ("point", "x", "y", "z", "score", "found")


def run(options: argparse.Namespace) -> None:
    inputs = [options.scan, *options.others]
    out = check_output(options.out, (".csv",), inputs) if options.out else None
    picture = check_output(options.picture, (".png",), inputs) if options.picture else None
    model = load_model(options)
    scan = read(model, options.scan, options)
    if not isinstance(scan, Scan):
        raise InvalidInputError(f"{options.model} takes images: places are found in scans; give --model 3D weights")
    given = np.array(options.at)
    points = _to_mm(scan, given) if options.voxel else given
    rows: list[tuple[str, Scan, np.ndarray, np.ndarray]] = []

    locator = Locator(model, progress=options.progress)

    def work(path: str) -> tuple[Scan, np.ndarray, np.ndarray]:
        other = read(model, path, options)
        assert isinstance(other, Scan)
        places, score = locator(scan, points, other, least=0)
        return other, places, score

    each = Each(options.others, work, options.progress, options.json)
    with Table(out) as table:
        for path, (other, places, score) in each:
            shown = _to_voxels(other, places) if options.voxel else places
            for number, (place, value) in enumerate(zip(shown, score, strict=True), 1):
                _say(options, table if out else None, path, number, place, float(value))
            if picture:
                rows.append((path, other, places, score))
    if out is not None and table.rows:
        print(f"{out}: {table.rows} places")
    if picture and rows:
        from sg_hub.cli.drawing_places import draw_places

        draw_places(model, scan, points, rows, picture)
        print(picture)
    each.check()


def _say(
    options: argparse.Namespace, table: Table | None, path: str, number: int, place: np.ndarray, score: float
) -> None:
    found = score >= FOUND
    if table is not None:
        table.add(path, _COLUMNS, (number, *place, score, int(found)))
    if options.json:
        say_json({"scan": path, "point": number, "place": place.round(2).tolist(), "score": score, "found": found})
    elif table is None:
        where = ", ".join(f"{value:.1f}" for value in place)
        unit = "voxel" if options.voxel else "mm"
        known = "" if found else ": hardly the same place, or not in this scan"
        print(f"{path}: point {number} at ({where}) {unit}, score {score:.2f}{known}", flush=True)


def _to_mm(scan: Scan, voxels: np.ndarray) -> np.ndarray:
    """Voxels of the file's own axes, as viewers count them from 0, in mm (LPS)."""
    grid = scan.file_grid or scan
    result: np.ndarray = (voxels * grid.spacing) @ np.array(grid.direction).reshape(3, 3).T + grid.origin
    return result


def _to_voxels(scan: Scan, places: np.ndarray) -> np.ndarray:
    grid = scan.file_grid or scan
    result: np.ndarray = np.linalg.solve(np.array(grid.direction).reshape(3, 3), (places - grid.origin).T).T
    return result / grid.spacing
