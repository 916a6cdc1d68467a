"""sg-hub models."""

import json

from sg_hub.hub import registry
from sg_hub.models.registry import families


def test_models_lists_families_and_weights(run):
    code, out, _ = run("models")
    assert code == 0
    for name in [*families(), *registry.list_models(), "timm:resnet18"]:
        assert name in out
    joined = " ".join(out.split())
    assert "shipped" in joined
    assert "to be converted, not checked against the published file" in joined
    assert "python -m benchmarks.model_cost" in joined
    assert "sg-hub convert Genesis_Chest_CT.pt FOLDER" in joined


def test_narrow_terminals_can_show_it(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = run("models")
    assert code == 0
    without_links = [line for line in out.splitlines() if "http" not in line]
    assert max(map(len, without_links)) <= 60


def test_json_holds_what_each_expects_and_costs(run):
    code, out, _ = run("models", "--json")
    said = json.loads(out)
    assert code == 0
    assert {one["family"] for one in said["families"]} == set(families())
    by_name = {one["name"]: one for one in said["weights"]}
    ct_fm = by_name["ct-fm"]
    assert (ct_fm["dimensions"], ct_fm["channels"], ct_fm["modality"]) == (3, 1, "CT")
    assert (ct_fm["spacing"], ct_fm["intensity"]) == ([1, 1, 3], "-1024 to 2048 HU to 0..1")
    for name in (*registry.list_models(), "timm:resnet18"):
        one = by_name[name]
        assert one["parameters"] > 0
        assert one["seconds"] > 0
        assert one["mb"] > 0
        assert one["licence"]
        assert one["how_to_get"]


def test_without_registered_weights_families_are_listed(run, monkeypatch):
    entry = registry.PretrainedWeights(
        "some-model", "SemanticGenesis3D", "Made of tests.", "c0ffee", "0" * 64, "CC-BY-4.0", size_mb=2.5
    )
    monkeypatch.setattr(registry, "_registry", lambda: {"some-model": entry})
    code, out, _ = run("models")
    assert code == 0
    assert all(word in out for word in ("some-model", "SemanticGenesis3D", "2.5 MB", "CC-BY-4.0", "tests", "on a hub"))
    monkeypatch.setattr(registry, "_registry", dict)
    code, out, _ = run("models")
    assert code == 0
    assert "SemanticGenesis3D" in out
    assert "some-model" not in out
