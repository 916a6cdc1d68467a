"""sg-hub models."""


def test_models_lists_what_is_registered(run, monkeypatch):
    from sg_hub.hub import registry

    entry = registry.PretrainedWeights(
        "some-model", "SemanticGenesis3D", "Made of tests.", "c0ffee", "0" * 64, "CC-BY-4.0", size_mb=2.5
    )
    monkeypatch.setattr(registry, "_registry", lambda: {"some-model": entry})
    code, out, _ = run("models")
    assert code == 0
    assert all(word in out for word in ("some-model", "SemanticGenesis3D", "2.5 MB", "CC-BY-4.0", "tests"))
    monkeypatch.setattr(registry, "_registry", dict)
    code, out, error = run("models")
    assert (code, out) == (0, "")
    assert "no models" in error
