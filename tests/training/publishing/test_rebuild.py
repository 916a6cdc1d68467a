"""The committed cards: what the command builds, and what the hub reads in them."""

import itertools
import json
import re
import shutil
import statistics
from pathlib import Path

import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.repocard import metadata_load
from huggingface_hub.repocard_data import model_index_to_eval_results
from safetensors.torch import load_file

import sg_hub
from sg_hub.errors import ReadError
from tests.support.folders import ROOT
from training.publishing.cards import pretrained as pretrained_card
from training.publishing.rebuild import build_card
from training.run.recipe import resolved
from training.run.recipe_file import load_recipe

CARDS = ROOT / "model_cards"
MODELS = sorted(path.parent for path in CARDS.glob("*/results.json"))
EVERY_CARD = sorted(path.parent for path in CARDS.glob("*/README.md"))
named = pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)


def read(folder, file="results.json"):
    return json.loads((folder / file).read_text(encoding="utf-8"))


def method_of(folder):
    return read(folder)["recipe"].get("method", {"name": "restoration"})["name"]  # older ones had no other


def ndim_of(folder):
    return len(read(folder, "config.json")["preprocessing"]["input_size"])


OF_THE_PAPER = [folder for folder in MODELS if method_of(folder) == "restoration"]
of_the_paper = pytest.mark.parametrize("folder", OF_THE_PAPER, ids=lambda path: path.name)


def test_there_are_committed_cards():
    assert MODELS
    names, cards = sg_hub.list_models(), {folder.name for folder in EVERY_CARD}
    assert {name for name in names if sg_hub.get_weights(name).folder} <= cards <= set(names)


@pytest.mark.parametrize("folder", EVERY_CARD, ids=lambda path: path.name)
def test_the_committed_card_is_what_the_command_builds(folder, tmp_path):
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    build_card(copy)
    assert (copy / "README.md").read_text(encoding="utf-8") == (folder / "README.md").read_text(encoding="utf-8")


@named
def test_a_card_of_images_speaks_of_no_cubes(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert (" cube " in text or " cubes " in text) == (ndim_of(folder) == 3)


@named
def test_a_card_is_found_under_its_method_alone(folder):
    tags = metadata_load(folder / "README.md")["tags"]
    assert ("semantic-genesis" in tags, "dense-contrast" in tags) == (
        folder in OF_THE_PAPER,
        folder not in OF_THE_PAPER,
    )


@named
def test_committed_weights_give_the_golden_output(folder):
    golden = load_file(folder / "golden.safetensors")
    model = sg_hub.from_pretrained(folder)
    with torch.inference_mode():
        output = model(golden.pop("input").float())
    outputs = output._asdict() if hasattr(output, "_asdict") else {"output": output}
    assert golden.keys() == outputs.keys()
    for key, expected in golden.items():
        rtol = 1e-3 if key == "pattern_logits" else 0  # images are stored in half precision
        torch.testing.assert_close(outputs[key], expected.float(), atol=1e-3 if rtol else 2e-3, rtol=rtol)


@pytest.mark.parametrize("folder", EVERY_CARD, ids=lambda path: path.name)
def test_what_weights_are_for_and_not_for_is_said_first_and_how_to_cite_them_last(folder):
    sections = re.split(r"^## ", (folder / "README.md").read_text(encoding="utf-8"), flags=re.M)
    names = [section.partition("\n")[0] for section in sections[1:]]
    assert (names[0], names[-1]) == ("Intended use", "Citation")
    assert "Limits" not in names
    assert "Not a medical device" in sections[1]
    if folder in MODELS:
        assert read(folder)["publish"]["limits"] in sections[1]
        assert f"`{folder.name}`, sha256 `{read(folder)['evaluation']['sha256'][:12]}`" in sections[-1]
    entries = re.search(r"```bibtex\n(.*?)```", sections[-1], re.S)[1]
    assert entries.count("{") == entries.count("}")
    semantics = folder in MODELS and read(folder)["recipe"].get("method", {}).get("semantics", False)
    assert ("haghighi2020learning" in entries) == (folder.name.startswith("semantic-genesis") or semantics)


@named
def test_what_the_card_says_of_the_golden_output_runs(folder, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.S)[1:]
    monkeypatch.chdir(folder)
    exec(code, {})
    assert float(capsys.readouterr().out) < 0.002


def test_what_training_saw_is_said_where_it_is_not_what_preprocessing_makes():
    said = [
        folder.name for folder in MODELS if "Training saw something else" in (folder / "README.md").read_text("utf-8")
    ]
    assert said == ["dense-contrast-3d-chest-tiny"]
    expects = (CARDS / said[0] / "README.md").read_text(encoding="utf-8").split("## What it expects")[1].split("## ")[0]
    assert load_recipe(said[0]).publish.saw in expects


# -- as the hub reads it ----------------------------------------------------------------------------------------------


def as_the_hub_reads_it(folder):
    """{(name of the task, name of the metric): result}, from the file and from the card that is loaded and saved."""
    _, stored = model_index_to_eval_results(metadata_load(folder / "README.md")["model-index"])
    loaded = ModelCard.load(folder / "README.md")
    _, again = model_index_to_eval_results(loaded.data.to_dict()["model-index"])  # grouped by the hub's own rule
    assert sorted(map(repr, stored)) == sorted(map(repr, again))
    read = {(result.task_name, result.metric_name): result for result in stored}
    assert len(read) == len(stored)
    return read


@named
def test_every_value_stands_under_its_own_target(folder):
    groups = {}
    for (target, _), result in as_the_hub_reads_it(folder).items():
        assert result.dataset_config == target
        groups.setdefault(result.unique_identifier, set()).add(target)
    assert all(len(targets) == 1 for targets in groups.values())


def one_of(found, target, *words):
    """The only value of a target; its metric's name holds these words."""
    ((metric, result),) = ((metric, result) for (name, metric), result in found.items() if name == target)
    assert all(word in metric for word in words)
    return result.metric_value


def _without(items):
    return f"mean over trials, without {items} test items whose reference is known to be wrong"


@named
def test_what_the_hub_reads_is_what_was_measured(folder):
    found, results = as_the_hub_reads_it(folder), read(folder)
    evaluation, compared = results["evaluation"], set()
    pieces = "patches" if ndim_of(folder) == 2 else "cubes"
    if method_of(folder) == "dense_contrast":
        (target,) = {name for name, _ in found if "found in another view" in name}
        by_place = f"{evaluation['retrieval_by_place']:.4f} by the same place"
        assert one_of(found, target, by_place) == round(evaluation["retrieval"], 5)
        compared.add(target)
        evaluation = {"by_transformation": {}} | evaluation
    kinds = () if compared and "patterns" not in evaluation else (("clean", "top1"), ("corrupted", "top1_corrupted"))
    for kind, value in kinds:
        target = f"top-1 accuracy over {evaluation['patterns']} patterns, {kind} {pieces}"
        assert one_of(found, target, f"{evaluation['chance']:.4f} by chance") == round(evaluation[value], 5)
        compared.add(target)
    for kind, values in evaluation["by_transformation"].items():
        target = f"restoration after elastic and {kind}, mean squared error"
        as_it_is = f"{values['mse_corrupted']:.4f} for the corrupted {pieces} left as they are"
        assert one_of(found, target, as_it_is) == round(values["mse"], 5)
        compared.add(target)
    left = {key for key in found if key[0] not in compared}
    for transfer in results["transfer"]:
        for row in transfer["rows"]:
            of_class = f"{row['name']}, mean over trials" if row["name"] != "mean" else "mean over classes and trials"
            metric = f"{transfer['metric']}, {of_class if len(transfer['rows']) > 1 else 'mean over trials'}"
            result = found[transfer["title"], metric]
            assert result.metric_value == float(row["pretrained"].split()[0])
            assert (result.task_type, result.metric_type) == (transfer["task_type"], transfer["metric_type"])
            left.remove((transfer["title"], metric))
        if doubtful := transfer.get("doubtful"):
            without = f"{transfer['metric']}, {_without(doubtful['items'])}"
            assert found[transfer["title"], without].metric_value == float(doubtful["value"].split()[0])
            left.remove((transfer["title"], without))
    assert not left


def measured_trials():
    """All that is committed, by what was trained on what."""
    found = {}
    for path in sorted((ROOT / "training" / "measured").glob("**/results.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            how = (row["weights"], row["target"], row.get("labelled") or row["fraction"], row.get("own") is not None)
            found.setdefault(how, []).append(row)
    return found


def labels_of(row):
    if row.get("labelled"):
        return f", {row['labelled']} labelled patient{'s' if row['labelled'] > 1 else ''}"
    return f", {row['fraction']:.0%} of labels" if row["fraction"] < 1 else ""


@named
def test_what_the_cards_say_of_fine_tuning_is_the_mean_of_the_measured_trials(folder):
    sha256, found = read(folder, "results.json")["evaluation"]["sha256"], as_the_hub_reads_it(folder)
    compared = 0
    for (weights, name, _, own), trials in measured_trials().items():
        if weights != f"whole:{sha256}":
            continue
        labels = f"{labels_of(trials[0])}, own settings" if own else labels_of(trials[0])
        target = f"{trials[0]['settings']['title']}{labels}, the whole network"
        assert any(task == target for task, _ in found), target
        for metric, result in ((metric, result) for (task, metric), result in found.items() if task == target):
            doubtful = trials[0].get("doubtful")
            if doubtful and metric.endswith(_without(len(doubtful["items"]))):
                value = statistics.mean(row["doubtful"]["values"][row["metric"]] for row in trials)
                assert result.metric_value == pytest.approx(value, abs=5.1e-4), (name, metric)
                compared += 1
                continue
            _, _, which = metric.removesuffix(", mean over trials").partition(", ")
            key = trials[0]["metric"] if "mean over" in metric and (not which or "mean" in which) else ""
            key = key or f"{trials[0]['metric']} {which}"
            value = statistics.mean(row["values"][key] for row in trials)
            assert result.metric_value == pytest.approx(value, abs=5.1e-4), (name, metric)
            compared += 1
    assert compared == len([result for result in found.values() if "mean over" in result.metric_name])


@of_the_paper
def test_limits_stand_before_what_was_reached(folder):
    card, kinds = ModelCard.load(folder / "README.md").text, read(folder)["evaluation"]["by_transformation"]
    results = card.split("## Results, measured here")[1].split("\n## ")[0]
    limits, table = results.split("| | this model")
    for kind, values in kinds.items():
        said = [line for line in limits.splitlines() if f" and {kind}," in line]
        ratio = values["mse"] / values["mse_corrupted"]
        assert [line.split()[1] for line in said] == (["No"] if ratio >= 1 else ["Little"] if ratio > 0.5 else [])
        assert all(f"({values['mse']:.4f}; {values['mse_corrupted']:.4f} " in line for line in said)
    order = sorted(kinds, key=lambda kind: table.index(f" and {kind},"))
    ratios = [kinds[kind]["mse"] / kinds[kind]["mse_corrupted"] for kind in order]
    assert ratios == sorted(ratios, reverse=True)


@of_the_paper
def test_every_deviation_from_the_paper_is_listed(folder):
    results, card = read(folder), ModelCard.load(folder / "README.md").text
    paper = f"semantic-genesis-{ndim_of(folder)}d"
    settings = resolved(load_recipe(paper))
    for section, key in (
        ("autoencode", "epochs"),
        ("autoencode", "size"),
        ("pretrain", "epochs"),
        ("pretrain", "size"),
    ):
        here, there = results["recipe"][section][key], settings[section][key]
        assert here != there
        assert f"| {section}.{key} | {json.dumps(here)} | {json.dumps(there)} |" in card


def test_the_commits_are_called_what_they_are():
    card = (CARDS / "semantic-genesis-3d-tiny" / "README.md").read_text(encoding="utf-8")
    config = read(CARDS / "semantic-genesis-3d-tiny", "config.json")
    assert f"Code at commit `{config['provenance']['commit']}` when training began" in card
    assert "`9afdb1d53e5c28dfbbfa412654705e701a97442b` when it had ended" in card


def test_the_card_of_the_published_weights_says_what_is_reported_and_what_is_not_measured(tmp_path):
    card = ModelCard.load(build_card(tmp_path / "semantic-genesis-3d"))
    assert card.data.license == "other"
    assert card.data.license_name
    assert card.data.license_link
    assert not card.data.eval_results
    assert "model-index" not in card.content
    reported = card.text.split("## Results that the paper reports")[1].split("## Results, measured here")[0]
    assert "Not measured here" in reported
    row = "| **Semantic Genesis 3D, these weights** | 98.47±0.22 | 85.60±1.94 | 77.24±0.68 | 68.80±0.30 |"
    assert row in reported
    for words in (
        "zenodo.org/records/4625297",
        "sg-hub convert",
        "Outputs depend on the batch",
        "-1000.0 to 1000.0 HU",
    ):
        assert words in card.text
    assert [path.name for path in (tmp_path / "semantic-genesis-3d").iterdir()] == ["README.md"]


# -- records that are not what we write -------------------------------------------------------------------------------

OTHERS = (None, True, -1, "text", [], {}, 1e400)


def places(value, path=()):
    """Every key of a JSON value, as a path."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            yield from places(inner, (*path, key))


def altered(value, path, change):
    """A copy of a JSON value in which one place is taken out, or is another value."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    if change == "missing":
        del inner[path[-1]]
    else:
        inner[path[-1]] = change
    return copy


def refusal(folder):
    """What is said of a folder whose card cannot be built; None where it can."""
    try:
        build_card(folder)
    except ReadError as error:
        return str(error)
    return None


@named
@pytest.mark.parametrize("file", ["results.json", "config.json"])
def test_a_record_with_another_key_or_type_is_a_card_or_a_clear_error(folder, file, tmp_path, monkeypatch):
    """The message names the file; the card that is there stays."""
    if file == "results.json":  # then the network is always the same, and need not be built each time
        network = pretrained_card.read_network(folder)
        monkeypatch.setattr(pretrained_card, "read_network", lambda folder: network)
    copy = Path(shutil.copytree(folder, tmp_path / folder.name))
    (copy / "model.safetensors").unlink()  # the card does not read it
    before, record, refused = (copy / "README.md").read_bytes(), read(folder, file), 0
    for path, change in zip(places(record), itertools.cycle(("missing", *OTHERS)), strict=False):
        (copy / file).write_text(json.dumps(altered(record, path, change)), encoding="utf-8")
        said = refusal(copy)
        assert said is None or (str(copy / file) in said and (copy / "README.md").read_bytes() == before), path
        (copy / "README.md").write_bytes(before)
        refused += said is not None
    assert refused > 8


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "1", '{"a": 1}', "[" * 100_000, "\udcff"])
@pytest.mark.parametrize("file", ["results.json", "config.json"])
def test_a_damaged_record_is_named(file, text, tmp_path):
    copy = Path(shutil.copytree(MODELS[0], tmp_path / MODELS[0].name))
    (copy / file).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ReadError, match=str(copy / file)):
        build_card(copy)
