"""What of a folder goes to a hub."""

from sg_hub.hub.upload import listing

MODEL = ["LICENSE", "NOTICE.txt", "README.md", "config.json", "model.safetensors"]
PICTURES = ["examples.png", "more/case.JPG"]
RECORDS = ["results.json", "scores.csv"]
NEVER = ["checkpoint.pt", "ct.nii.gz", "more/config.yaml", "more/model.safetensors"]


def test_pictures_only_when_asked_for_and_anything_else_never(tmp_path):
    for name in [*MODEL, *PICTURES, *RECORDS, *NEVER, ".hidden.json", ".git/config.json"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(1000))
    found = listing(tmp_path)
    assert sorted(found.files) == MODEL
    assert sorted(found.kept_back) == sorted([*PICTURES, *RECORDS, *NEVER])
    assert sorted(listing(tmp_path, pictures=True).files) == sorted([*MODEL, *PICTURES])
    assert sorted(listing(tmp_path, pictures=True).kept_back) == sorted([*RECORDS, *NEVER])
    (tmp_path / "model.safetensors").write_bytes(bytes(2_500_000))
    lines = str(found).splitlines()
    assert "model.safetensors (2.5 MB)" in lines
    assert "config.json (1.0 kB)" in lines
    assert "not sent: examples.png (a picture)" in lines
