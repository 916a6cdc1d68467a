"""sg-hub info."""

import json


def test_info_says_what_the_model_expects(run, models):
    code, out, error = run("info", models / "pretext")
    assert (code, error) == (0, "")
    for expected in (
        "SemanticGenesis3D",
        "num_classes: 5",
        "preprocessing.spacing: [8.0, 8.0, 6.0]",
        "sha256",
    ):
        assert expected in out


def test_info_of_a_model_of_images(run, models):
    code, out, _ = run("info", models / "pretext-2d")
    assert code == 0
    for part in ("SemanticGenesis2D", 'encoder: "lcnet_035"', "preprocessing.modality", "strides (2, 4, 8, 16, 32)"):
        assert part in out


def test_json_says_the_same(run, models):
    code, out, _ = run("info", models / "pretext", "--json")
    said = json.loads(out)
    assert code == 0
    assert (said["architecture"], said["config"]["num_classes"]) == ("SemanticGenesis3D", 5)
    assert said["preprocessing"]["spacing"] == [8, 8, 6]
    assert len(said["sha256"]) == 64
    assert f"{said['parameters']:,} parameters" in run("info", models / "pretext")[1]


def test_info_of_weights_that_are_to_be_converted_says_how(run):
    code, out, _ = run("info", "ct-fm")
    joined = " ".join(out.split())
    assert code == 0
    for part in ("SegResNet", "not checked against the published file", "spacing 1 x 1 x 3 mm", "sg-hub convert"):
        assert part in joined
    said = json.loads(run("info", "ct-fm", "--json")[1])
    assert said["listed"]["channels"] == 1


def test_info_of_shipped_weights_says_what_they_cost(run):
    assert "s a scan" in run("info", "semantic-genesis-3d-tiny")[1]
