"""How alike the patterns of OpenKBP were: the page says what the records say."""

import json

from tests.support.folders import ROOT

MEASURED = ROOT / "training" / "measured" / "patterns"


def test_the_page_has_the_figures_of_the_records():
    page = " ".join((ROOT / "docs" / "experiments.md").read_text(encoding="utf-8").split())
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in MEASURED.glob("*.json")}
    mean = {name: record["consistency"]["mean"] for name, record in found.items()}
    chance = [record["consistency"]["by_chance"] for record in found.values()]
    assert f"correlate by {mean['coordinates-100']:.2f} from patient to patient" in page
    assert f"by {mean['coordinates-30']:.2f} with 30, and by {mean['features-30']:.2f} where" in page
    assert f"cubes of two patterns by {min(chance):.2f} to {max(chance):.2f}" in page
    for name, record in found.items():
        settings = record["recipe"]["discover"]
        assert f"{settings['frame'].replace('relative', 'coordinates')}-{settings['neighbours']}" == name
        values = record["consistency"]["of_patterns"]
        assert len(values) == settings["patterns"]
        assert abs(sum(values) / len(values) - record["consistency"]["mean"]) < 1e-3
    assert found["features-30"]["recipe"]["discover"]["weights"] == "dense-contrast-3d-tiny"
