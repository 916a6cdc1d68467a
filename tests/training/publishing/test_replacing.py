"""What is there already when weights are published is lost to nobody, also when the process is killed."""

import json
import multiprocessing
import os
import shutil
import sys

import pytest
from huggingface_hub import ModelCard

from sg_hub.errors import InvalidInputError
from sg_hub.hub.model_folder import sha256_of
from sg_hub.io.files import write_json
from tests.support.folders import contents
from tests.training.conftest import SAMPLES, SMALL, small_recipe
from tests.training.publishing.test_upload import command
from training.publishing.publish import publish
from training.publishing.rebuild import build_card
from training.run.folder.checksums import sealed
from training.run.recipe_file import load_recipe


def test_a_folder_of_something_else_is_left_as_it_is(trained, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(InvalidInputError, match=r"demo was not written by this command .*thesis\.txt.*name=ANOTHER"):
        publish(small_recipe(trained), tmp_path)
    assert contents(tmp_path) == {"demo/thesis.txt": b"years of work"}


def test_a_run_is_not_replaced_by_its_own_card(trained, tmp_path, capsys):
    """The demo's recipe writes to demo/run: below `--cards .`, demo is the folder that holds the run."""
    run = shutil.copytree(trained, tmp_path / "demo" / "run")
    before = contents(tmp_path)
    given = ["publish", "demo", f"source={SAMPLES / 'ct'}", f"run={run}", *SMALL, "--cards", str(tmp_path)]
    code, out, err = command(*given)
    assert (code, out) == (2, "")
    assert "demo was not written by this command" in err
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["../x", "a/b", "..", ".", "", ".hidden", "~", "x\n", "/tmp/x", "a b"])
def test_a_name_is_a_name(name):
    with pytest.raises(InvalidInputError, match="letters, digits"):
        load_recipe("demo", [f"name={json.dumps(name)}"])


def test_names_of_others_weights_are_not_taken(trained, tmp_path):
    entry = {"theirs": {"how_to_get": "ask them"}}
    (tmp_path / "registry.json").write_text(json.dumps(entry), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="others published: give name=ANOTHER"):
        publish(small_recipe(trained, "name=theirs"), tmp_path)
    assert contents(tmp_path) == {"registry.json": json.dumps(entry).encode()}


def test_what_others_added_to_a_published_folder_stays(trained, tmp_path):
    folder = publish(small_recipe(trained), tmp_path)
    (folder / "LICENSE").write_text("mine", encoding="utf-8")
    (folder / "notes" / "more").mkdir(parents=True)
    (folder / "notes" / "more" / "a.txt").write_text("a", encoding="utf-8")
    (folder / ".gitattributes").write_text("b", encoding="utf-8")
    (folder / "nowhere").symlink_to("not there")
    (folder / "transforms.png").write_bytes(b"of an older run, which had this figure")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    found = {
        "title": "organs",
        "about": "Ten trials.",
        "dataset_type": "openkbp",
        "dataset_name": "organs",
        "metric": "IoU",
        "rows": [{"name": "mean", "pretrained": "0.7 ± 0.1", "random": "0.6 ± 0.1", "difference": "", "p": ""}],
        "verdict": "Better.",
        "sha256": results["sha256"],
    }
    of_older_weights = found | {"title": "ribs", "sha256": "0" * 64}
    results["transfer"] = [found, of_older_weights]
    write_json(folder / "results.json", sealed(results))
    assert publish(small_recipe(trained), tmp_path) == folder
    after = contents(folder)
    assert after["LICENSE"] == b"mine"
    assert after["notes/more/a.txt"] == b"a"
    assert after[".gitattributes"] == b"b"
    assert os.readlink(folder / "nowhere") == "not there"
    assert "transforms.png" not in after
    assert json.loads(after["results.json"])["transfer"] == [found, of_older_weights]
    card = ModelCard.load(folder / "README.md")
    assert "### Fine-tuning: organs" in card.text
    assert "ribs" not in card.text


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("README.md", "# Written by hand", "written by a person"),
        ("model.safetensors", "other weights", "not the one"),
        ("results.json", "{}", "another one"),
        ("results.json", "[", "another one"),
    ],
)
def test_a_folder_that_was_changed_by_others_is_left_as_it_is(trained, tmp_path, file, text, said):
    folder = publish(small_recipe(trained), tmp_path)
    (folder / file).write_text(text, encoding="utf-8")
    before = contents(tmp_path)
    with pytest.raises(InvalidInputError, match=said):
        publish(small_recipe(trained), tmp_path)
    assert contents(tmp_path) == before


def test_a_hand_written_card_is_not_rebuilt(trained, tmp_path):
    folder = publish(small_recipe(trained), tmp_path)
    (folder / "README.md").write_text("# Written by hand", encoding="utf-8")
    with pytest.raises(InvalidInputError, match="not built by"):
        build_card(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == "# Written by hand"


STEPS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "shutil.rmtree", "shutil.copyfile")


def publish_counting(recipe, cards, step, steps):
    """In a process of its own: publish, and be killed before the n-th step in the folder of cards."""

    def count(event, arguments):
        if event in STEPS and str(cards) in str(arguments):
            steps.value += 1
            if steps.value == step:
                os._exit(9)

    sys.addaudithook(count)
    publish(recipe, cards)


def attempt(recipe, cards, step=0):
    """Publish, and be killed before the n-th step, if any; returns how many steps there were."""
    clean = multiprocessing.get_context("forkserver")  # a process without threads forks quicker than one starts
    clean.set_forkserver_preload([__name__])
    steps = clean.Value("i", 0)
    process = clean.Process(target=publish_counting, args=(recipe, cards, step, steps))
    process.start()
    process.join()
    assert process.exitcode == (9 if step else 0)
    return steps.value


def test_a_killed_publish_leaves_the_older_folder_or_the_newer_one(trained, tmp_path):
    """Killed at its steps one after the other, each time after what the last kill had left."""
    cards = tmp_path / "cards"
    publish(small_recipe(trained, "publish.limits=run 0"), cards)
    (cards / "demo" / "LICENSE").write_text("mine", encoding="utf-8")
    steps = attempt(small_recipe(trained, "publish.limits=run 0"), cards)
    assert steps > 40
    numbers = [*range(1, steps - 14, 12), *range(steps - 14, steps + 1)]
    seen = {"run 0"}
    for number in numbers:
        attempt(small_recipe(trained, f"publish.limits=run {number}"), cards, number)
        folder = cards / "demo"
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        said = results["publish"]["limits"]
        assert said == f"run {number}" or said in seen
        assert f"\n{said} " in (folder / "README.md").read_text(encoding="utf-8")
        assert results["sha256"] == sha256_of(folder / "model.safetensors")
        assert (folder / "LICENSE").read_text(encoding="utf-8") == "mine"
        assert len([path for path in cards.iterdir() if path.name.startswith(".")]) <= 1
        seen.add(said)
    assert len(seen) > 1  # some were killed behind the exchange
    publish(small_recipe(trained, "publish.limits=the last"), cards)
    assert sorted(path.name for path in cards.iterdir()) == ["demo", "registry.json"]
    assert "the last" in (cards / "demo" / "README.md").read_text(encoding="utf-8")


def test_an_entry_that_a_kill_kept_from_the_registry_is_written_by_the_next_run(trained, tmp_path):
    publish(small_recipe(trained), tmp_path)
    whole = (tmp_path / "registry.json").read_bytes()
    (tmp_path / "registry.json").write_text("{}", encoding="utf-8")
    publish(small_recipe(trained), tmp_path)
    assert (tmp_path / "registry.json").read_bytes() == whole
