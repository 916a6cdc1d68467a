"""Cards and licences: they go with the weights wherever these go."""

import re
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard

import sg_hub
from sg_hub import SemanticGenesis2D, SemanticGenesis3D, from_pretrained
from sg_hub.hub.card import NOTICE, build_card, notice_of, notices
from tests.support.hub_user import ALICE

LICENCE = {
    "licence": "other",
    "licence_name": "Some University License",
    "licence_link": "https://example.org/licence",
    "licence_terms": "Non-commercial use only.",
    "citation": "A. Author. A paper. 2020.",
    "data": "ten scans",
}
TINY = "semantic-genesis-3d-tiny"


def build(**options):
    torch.manual_seed(0)
    return SemanticGenesis3D(**({"width": 1, "num_classes": 2, "norm": "batch"} | options))


def card_of(folder):
    return (folder / "README.md").read_text(encoding="utf-8")


def changed(model):
    with torch.no_grad():
        next(iter(model.parameters())).add_(1)
    return model


# -- built -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["pretext", "segmentation", "classification", "features"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_the_usage_of_a_built_card_runs(tmp_path, monkeypatch, ndim, head):
    if ndim == 3:
        model = build(head=head)
        scan = sg_hub.Scan(np.random.default_rng(0).normal(0, 300, (1, 16, 16, 16)).astype(np.float32), (2.0, 2.0, 2.0))
        scan.save(scan.array[0], tmp_path / "ct.nii.gz")
    else:
        from PIL import Image

        model = SemanticGenesis2D(encoder="test_resnet", head=head, num_classes=2, decoder_width=2)
        grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(grey).save(tmp_path / "xray.png")
    model.save_pretrained(tmp_path / "model")
    (code,) = re.findall(r"```python\n(.*?)```", card_of(tmp_path / "model"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(code, found)
    assert found["model"].head_name == "segmentation"
    assert found["model"].load_report.source == "./model"


def test_what_a_model_expects_and_where_it_comes_from_are_said(tmp_path):
    provenance = LICENCE | {"patients": [f"hash{number}" for number in range(40)], "odd": {"a": 1}}
    names = ["background", "liver"]
    model = build(head="segmentation", class_names=names, norm="batch_stats", provenance=provenance)
    model.save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "other"
    assert card.data.license_name == "some-university-license"
    assert card.data.license_link == "https://example.org/licence"
    assert card.data.pipeline_tag == "image-segmentation"
    said = [
        "background, liver",
        "-1000.0 to 1000.0 HU",
        "x to the patient's left",
        "patients: 40",
        "Non-commercial use",
    ]
    for words in [*said, "A. Author.", "ten scans", "outputs depend on what else is in the batch"]:
        assert words in card.text
    assert "hash7" not in card.text


@pytest.mark.parametrize(
    ("head", "said"),
    [("segmentation", "To segment scans"), ("classification", "To classify scans"), ("features", "A start for")],
)
def test_a_card_says_what_a_model_is_for_and_not_for(head, said):
    card = build(head=head).generate_model_card()
    use = card.text.partition("## Intended use\n\n")[2].partition("\n\n##")[0]
    assert use.startswith(said)
    assert use.endswith("\nNot a medical device: not for diagnosis, treatment or triage.")


def test_what_nobody_said_is_not_made_up(tmp_path):
    build().save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license is None
    assert "Nobody said under which" in card.text
    assert not (tmp_path / NOTICE).exists()
    build(provenance={"licence": "unknown"}).save_pretrained(tmp_path / "unknown")
    assert ModelCard.load(tmp_path / "unknown" / "README.md").data.license is None
    assert not (tmp_path / "unknown" / NOTICE).exists()


def test_entries_of_the_metadata_can_be_given():
    card = build().generate_model_card(license="mit", datasets=["openkbp"])
    assert (card.data.license, card.data.datasets) == ("mit", ["openkbp"])


@pytest.mark.parametrize("value", [7, ["a"], {"a": 1}, True, "x" * 100_000])
@pytest.mark.parametrize("key", ["licence", "licence_name", "data", "checkpoint", "citation", "other"])
def test_a_provenance_of_any_kind_gives_a_card(key, value):
    model = build(provenance={"licence": "other", key: value})
    card = build_card("Net", model.config(), parameters=1, usage="x", title="x", about="x", head=model.head)
    assert "## Licence" in card.text


# -- kept --------------------------------------------------------------------------------------------------------------


def test_a_loaded_model_keeps_its_card(tmp_path):
    model = from_pretrained(TINY)
    model.save_pretrained(tmp_path / "same")
    assert card_of(tmp_path / "same") == card_of(sg_hub.get_weights(TINY).folder)
    model.save_pretrained(tmp_path / "half", half=True)
    assert card_of(tmp_path / "half") == card_of(tmp_path / "same")
    again = from_pretrained(tmp_path / "same")
    again.save_pretrained(tmp_path / "again")
    assert card_of(tmp_path / "again") == card_of(tmp_path / "same")


@pytest.mark.parametrize("how", ["head", "norm", "trained", "source gone"])
def test_a_changed_model_gets_a_card_of_its_own_with_the_older_behind_it(tmp_path, how):
    from_pretrained(TINY).save_pretrained(tmp_path / "base")
    options = {"head": {"num_classes": 3}, "norm": {"norm": "instance"}}.get(how, {})
    model = from_pretrained(tmp_path / "base", **options)
    if how == "trained":
        changed(model)
    if how == "source gone":
        (tmp_path / "base" / "model.safetensors").unlink()
    model.save_pretrained(tmp_path / "new")
    card = ModelCard.load(tmp_path / "new" / "README.md")
    assert card.data.license == "apache-2.0"
    assert card.data.eval_results is None, "results are of other weights"
    start, base = card.text.split("## The weights that these were made from")
    for words in ('from_pretrained("./new")', "made from `base`", "## What it expects", "## Licence", "OpenKBP"):
        assert words in start
    assert str(tmp_path) not in card.text
    assert f"# {TINY}" in base
    assert "![" not in base
    assert "license:" not in base


def test_a_card_in_the_folder_is_kept(tmp_path):
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    from_pretrained(TINY).save_pretrained(tmp_path)
    changed(from_pretrained(tmp_path)).save_pretrained(tmp_path)
    assert card_of(tmp_path) == "mine"


# -- licences ----------------------------------------------------------------------------------------------------------


def test_hashes_of_images_are_not_taken_for_images():
    hashes = [f"{number:012x}" for number in range(20)]
    said = notice_of({"licence": "apache-2.0", "patients": hashes[:10], "images": hashes})
    assert "\npatients: 10\nhashes of images: 20\n" in said


def test_a_licence_goes_with_the_weights_through_fine_tuning(tmp_path):
    build(provenance=LICENCE).save_pretrained(tmp_path / "published")
    (tmp_path / "published" / "LICENSE.txt").write_text("The whole text.", encoding="utf-8")
    tuned = changed(from_pretrained(tmp_path / "published", head="classification", num_classes=4))
    tuned.save_pretrained(tmp_path / "tuned")
    from_pretrained(tmp_path / "tuned").save_pretrained(tmp_path / "again")
    for name in ("published", "tuned", "again"):
        folder = tmp_path / name
        assert ModelCard.load(folder / "README.md").data.license_name == "some-university-license"
        assert (folder / "LICENSE.txt").read_text(encoding="utf-8") == "The whole text."
        notice = (folder / NOTICE).read_text(encoding="utf-8")
        for words in (
            "Some University License",
            "https://example.org/licence",
            "Non-commercial use only.",
            "A. Author.",
        ):
            assert words in notice


@pytest.mark.parametrize("said", ["cc-by-nc-4.0", "other"])
def test_a_licence_that_the_card_alone_says_goes_with_the_weights(tmp_path, said):
    build().save_pretrained(tmp_path / "theirs")
    name = "" if said != "other" else "license_name: theirs\nlicense_link: https://example.org\n"
    (tmp_path / "theirs" / "README.md").write_text(f"---\nlicense: {said}\n{name}---\n\nTheirs.\n", encoding="utf-8")
    changed(from_pretrained(tmp_path / "theirs", head="classification", num_classes=2)).save_pretrained(
        tmp_path / "mine"
    )
    data = ModelCard(card_of(tmp_path / "mine")).data
    assert (data.license, data.pipeline_tag) == (said, "image-classification")
    assert data.license_name == ("theirs" if name else None)
    changed(from_pretrained(tmp_path / "mine")).save_pretrained(tmp_path / "again")
    assert ModelCard(card_of(tmp_path / "again")).data.license == said


def test_notices_are_added_to_those_that_are_there_and_none_twice(tmp_path):
    (tmp_path / NOTICE).write_text("of the data\n", encoding="utf-8")
    (tmp_path / "LICENSE").write_text("mine", encoding="utf-8")
    for _ in range(2):
        build(provenance=LICENCE).save_pretrained(tmp_path)
    notice = (tmp_path / NOTICE).read_text(encoding="utf-8")
    assert notice.startswith("of the data\n\n")
    assert notice.count("Some University License") == 1
    assert (tmp_path / "LICENSE").read_text(encoding="utf-8") == "mine"
    assert notices(tmp_path, None, "") is None


# -- on the hub --------------------------------------------------------------------------------------------------------


def push_from(name, repo_id, change=False, **options):
    model = from_pretrained(name, cache_dir=options.pop("cache_dir", None))
    return (changed(model) if change else model).push_to_hub(repo_id, token=ALICE, **options).oid


def test_card_and_licence_go_from_hub_to_hub(hub, user, repo_id, tmp_path):
    build(provenance=LICENCE).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("---\nlicense: other\n---\n# By hand\n", encoding="utf-8")
    (tmp_path / "model" / "LICENSE").write_text("The whole text.", encoding="utf-8")
    hub.add(repo_id, {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()})
    copies = {False: f"{repo_id}-copy", True: f"{repo_id}-tuned"}
    for change, copy in copies.items():
        commit = user(push_from, repo_id, copy, change, cache_dir=tmp_path / "cache")
        found = hub.repositories[copy].commits[commit]
        assert found["LICENSE"] == b"The whole text."
        assert b"Some University License" in found[NOTICE]
        card = found["README.md"].decode()
        assert card.endswith("# By hand\n") if not change else "# By hand" in card
    assert f'from_pretrained("{copies[True]}")' in card
    assert "license_name: some-university-license" in card
    assert f"base_model: {repo_id}" in card


def test_a_hub_that_lists_no_files_still_gives_the_model(hub, user, repo_id, tmp_path):
    build(provenance=LICENCE).save_pretrained(tmp_path / "model")
    commit = hub.add(repo_id, {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}).branches[
        "main"
    ]
    hub.fail("404", f"/tree/{commit}")
    user(push_from, repo_id, f"{repo_id}-copy", cache_dir=tmp_path / "cache")
    copy = hub.repositories[f"{repo_id}-copy"]
    assert b"Some University License" in copy.commits[copy.branches["main"]][NOTICE]


def save_without_cache(name, folder, cache_dir):
    model = from_pretrained(name, cache_dir=cache_dir)
    shutil.rmtree(cache_dir)
    changed(model).save_pretrained(folder)


def test_a_model_is_saved_when_the_cache_that_it_came_from_is_gone(hub, user, repo_id, tmp_path):
    build(provenance=LICENCE).save_pretrained(tmp_path / "model")
    files = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}
    hub.fail("404", f"/tree/{hub.add(repo_id, files).branches['main']}")
    user(save_without_cache, repo_id, tmp_path / "new", tmp_path / "cache")
    assert (tmp_path / "new" / "model.safetensors").is_file()
    assert "Some University License" in (tmp_path / "new" / NOTICE).read_text(encoding="utf-8")
