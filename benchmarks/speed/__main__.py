"""Measures what is fast and what is not, and writes benchmarks/speed.json and docs/speed.md.

make speed                                       all parts, under ten minutes on two quiet cores
python -m benchmarks.speed --only transforms     one of them; the others stay as they were measured
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from sg_hub.io.files import write_atomic

from .parts import measured
from .table import TITLES, page

ROOT = Path(__file__).resolve().parents[2]
FILE, PAGE, NOTES = ROOT / "benchmarks" / "speed.json", ROOT / "docs" / "speed.md", Path(__file__).parent / "notes.md"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=TITLES, default=list(TITLES), metavar="PART", help=", ".join(TITLES)
    )
    parser.add_argument("--out", type=Path, default=FILE, help="JSON file of the results (default: %(default)s)")
    parser.add_argument("--page", type=Path, default=PAGE, help="Markdown file of the tables (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="no measuring: the page alone, from the results")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    for part in () if options.again else options.only:
        print(f"{part} ...", flush=True)
        # In a process of its own, so that no figure depends on which parts ran before.
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            found = alone.submit(measured, part).result()
        if not found["rows"]:
            print("  nothing to measure on this machine: what was measured elsewhere stays", flush=True)
            continue
        results[part] = found
        write_atomic(options.out, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        for row in results[part]["rows"]:
            print("  " + "  ".join(str(value) for value in row.values()), flush=True)
    write_atomic(options.page, page(results, NOTES.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
