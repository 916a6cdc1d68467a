"""The pages in docs/: what they show runs, what is generated is that of today's code, every page can be reached."""

import ast
import csv
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from docs.scripts import generate
from sg_hub.cli import main
from sg_hub.cli.parser import make_parser
from sg_hub.io.scan import load_scan
from tests.repository.documents import ORGANS, RUN, SCAN, a_users_folder, blocks, run
from tests.support.folders import DEMO_SAMPLES, ROOT
from training.run.folder.metrics import read_metrics
from training.statistics.patients import summary
from training.worth.rows import Row

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


@pytest.mark.parametrize("name", generate.PAGES)
def test_reference_pages_are_those_of_todays_settings(name):
    written = (DOCS / "reference" / name).read_text(encoding="utf-8")
    assert written == generate.PAGES[name](), "run `python -m docs.scripts.generate`"


def test_the_table_of_weights_is_that_of_todays_registry_and_cards():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate.weights_table() in readme, "run `python -m docs.scripts.generate`"


def navigation(entries):
    for entry in entries:
        for value in entry.values() if isinstance(entry, dict) else [entry]:
            yield from navigation(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation():
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(navigation(config["nav"])) == [path.relative_to(DOCS).as_posix() for path in PAGES]


OTHERS = [ROOT / "CONTRIBUTING.md", *(ROOT / "training").glob("*.md"), *(ROOT / "model_cards").glob("*/README.md")]
OTHERS += [DEMO_SAMPLES / "README.md", *sorted((ROOT / "tests" / "samples").rglob("README.md"))]
FILE = re.compile(r"`((?:sg_hub|training|tests|docs|benchmarks|model_cards)/[a-z_0-9/.-]*\.[a-z]+)`")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *OTHERS], ids=lambda page: page.parent.name + page.stem)
def test_every_file_that_is_named_is_there(page):
    for place in FILE.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / place).exists(), place


@pytest.mark.parametrize("script", sorted((DOCS / "examples").glob("*.slurm")), ids=lambda path: path.stem)
def test_examples_of_slurm_are_shell_and_name_commands_of_today(script):
    subprocess.run(["bash", "-n", script], check=True)
    command, options = re.search(r"(?:-m sg_hub|^sg-hub) (\w+)(.*)", script.read_text(encoding="utf-8"), re.M).groups()
    parsed = next(a for a in make_parser()._actions if a.dest == "command").choices[command]
    for option in re.findall(r"--[\w-]+", options):
        assert option in parsed._option_string_actions, option


def test_what_methods_learned_is_what_was_measured():
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| ([^|]+) \|", (DOCS / "methods.md").read_text(encoding="utf-8"), re.M)
    assert len(rows) == 9
    for method, figures in rows:
        text = (ROOT / "training" / "measured" / "methods" / method / "evaluation.json").read_text(encoding="utf-8")
        values = [value for value in json.loads(text).values() if isinstance(value, float)]
        for figure in figures.split("; "):
            digits = len(figure.strip().partition(".")[2])
            assert any(f"{value:.{digits}f}" == figure.strip() for value in values), (method, figure)


def section(title):
    text = (ROOT / "training" / "README.md").read_text(encoding="utf-8")
    return text.partition(f"# {title}\n")[2].partition("\n## ")[0]


def test_what_fine_tuning_reached_is_what_was_measured():
    table = ROOT / "training" / "measured" / "report" / "table.csv"
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    reached = {f"{float(row['mean']):.3f} ± {float(row['sd']):.3f}" for row in rows}
    chances = {float(row["p_welch"]) for row in rows if row["p_welch"]}
    without = [row for row in rows if row["mean_without_doubtful"]]
    reached |= {
        f"{float(row['mean_without_doubtful']):.3f} ± {float(row['sd_without_doubtful']):.3f}" for row in without
    }
    said = section("Measured").replace("\n", " ")
    pairs = re.findall(r"\d\.\d{3} ± \d\.\d{3}", said)
    assert len(pairs) == 22
    assert {*pairs} == reached
    given = re.findall(r"p = (\d\.\d+)", said) + re.findall(r"\| (\d\.\d+) \| \d+\.\d \|", said)
    assert len(given) == 10
    for p in given:
        assert any(f"{chance:.{len(p) - 2}f}" == p for chance in chances), p
    trials = [json.loads(line) for line in (table.parent.parent / "results.jsonl").read_text("utf-8").splitlines()]
    whole = sum(trial["minutes"] for trial in trials if trial["fraction"] == 1)
    assert f"took {whole:.0f} minutes of one core" in said
    for init, shown in (("semantic-genesis-2d-tiny", "is 0.758"), ("random:semantic-genesis-2d-tiny", "against 0.649")):
        curves = [trial["curve"] for trial in trials if (trial["init"], trial["fraction"]) == (init, 1)]
        early = [point[1] for curve in curves for point in curve if point[0] == 100]
        assert f"{shown[:-5]}{sum(early) / len(early):.3f}" == shown
        assert shown in said


def test_what_was_not_kept_has_no_figures():
    before_records, _, _ = (DOCS / "experiments.md").read_text(encoding="utf-8").partition("With records")
    assert not re.findall(r"\d\.\d{2,}|±", before_records)


def test_the_chances_of_experiments_with_records_are_those_of_the_reports():
    with_records = (DOCS / "experiments.md").read_text(encoding="utf-8").partition("With records")[2]
    chances = set()
    for kind in ("chest", "few", "mri", "xrays"):
        with open(ROOT / "training" / "measured" / kind / "report" / "table.csv", encoding="utf-8", newline="") as file:
            chances |= {
                float(row[test]) for row in csv.DictReader(file) for test in ("p_welch", "p_paired") if row[test]
            }
    said = re.findall(r"(?:p =|paired)\s+([\d.]*\d(?:e-\d+)?)", with_records.partition("Measured once")[0])
    assert len(said) == 12
    for p in said:
        digits = len(p.partition("e")[0].replace(".", "").lstrip("0"))
        assert float(p) in {float(f"{chance:.{digits}g}") for chance in chances}, p


def test_what_the_gallery_shows_was_measured():
    measured = json.loads((DOCS / "images" / "gallery" / "measured.json").read_text(encoding="utf-8"))
    assert len(measured["located"]) == 5
    assert not re.findall(r"\d\.\d", (DOCS / "gallery.md").read_text(encoding="utf-8")), "figures stand in the pictures"


SERIES = re.compile(r"(?:\d+\.\d+, ){2,}\d+\.\d+")


def test_what_methods_say_of_each_epoch_is_in_their_records():
    """The series of docs/methods.md: each is one column of the method's metrics, epoch for epoch."""
    sections = re.split(r"^## ", (DOCS / "methods.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    compared = 0
    for text in sections:
        records = ROOT / "training" / "measured" / "methods" / text.split()[0] / "metrics.jsonl"
        rows = [json.loads(line) for line in records.read_text("utf-8").splitlines()] if records.is_file() else []
        rows = [row for row in rows if "epoch" in row]
        for series in SERIES.findall(text.replace("\n", " ")):
            shown = series.split(", ")
            columns = [
                [f"{row[key]:.{len(value.partition('.')[2])}f}" for row, value in zip(rows, shown, strict=False)]
                for key in (rows[0] if rows else ())
                if isinstance(rows[0][key], float)
            ]
            assert shown in columns, (text.split()[0], series)
            compared += 1
    assert compared >= 8


def test_what_the_grid_of_methods_is_worth_is_what_was_measured():
    text = (DOCS / "methods.md").read_text(encoding="utf-8")
    tables = {"": "worth", "statistics as trained": "worth-own-statistics", "beside the grid": "worth-beside"}
    shown = re.findall(r"^\| ([\w-]+)(?:, ([\w ]+))? \| ((?:\d+\.\d|-) \| \d+\.\d \| .+) \|$", text, re.M)
    assert len(shown) == 19
    measured = ROOT / "training" / "measured" / "grid"
    assert (DOCS / "figures" / "grid.png").read_bytes() == (measured / "methods.png").read_bytes()
    trials = read_metrics(measured / "trials.jsonl")
    for name, which, figures in shown:
        rows = [Row(**line) for line in read_metrics(measured / f"{tables[which]}.jsonl")]
        found = {(row.what, row.measure): row.array for row in rows if row.weights.split(":")[0] == name}
        asked = [(what, "landmark error") for what in ("decoder", "encoder")]
        asked += [(f"linear probe, {what}, 3 patients", "iou") for what in ("encoder", "decoder")]
        *worth, fine_tuned = figures.split(" | ")
        for figure, (what, measure) in zip(worth, asked, strict=True):
            digits = len(figure.partition(".")[2])
            has = (what, measure) in found
            assert (f"{summary(measure, found[what, measure]):.{digits}f}" if has else "-") == figure, (name, what)
        values = [100 * line["value"] for line in trials if line["init"].split(":")[0] == name and not which]
        spread = f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}" if values else "-"
        assert spread == fine_tuned, name


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *OTHERS], ids=lambda page: page.parent.name + page.stem)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_block_of_python_is_python(page):
    for block in blocks(page):
        if block.kind == "python":
            ast.parse(block.text)


NEEDS_A_NETWORK = ("push_to_hub", 'encoder_weights="imagenet"', "timm:resnet18")


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.stem)
def test_every_block_of_python_is_run_but_what_needs_a_network(page):
    for block in blocks(page):
        if block.kind == "python" and not block.mark.startswith((RUN, "file: ", "run: ")):
            assert any(words in block.text for words in NEEDS_A_NETWORK), block.text


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES, *OTHERS], ids=lambda page: page.parent.name + page.stem)
def test_every_command_that_is_shown_is_one_of_today(page):
    parser = make_parser()
    for block in blocks(page):
        for line in block.text.replace("\\\n", " ").splitlines() if block.kind == "bash" else ():
            program, *arguments = shlex.split(line, comments=True) or [""]
            if program == "sg-hub":
                assert parser.parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("name", ["index", "loading"])
def test_a_short_example_runs_as_it_stands(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scan = load_scan(SCAN)
    part = scan.array[:, 20:60, 10:50, 20:50]
    type(scan)(part, scan.spacing).save(part[0], "ct.nii.gz")
    names = {"__name__": "page"}
    for block in blocks(DOCS / f"{name}.md"):
        if block.mark == RUN:
            run(block, names)
    assert names["features"].shape == (128,) if name == "index" else names["logits"].shape == (1, 3, 32, 32, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finetune", "classify", "compare", "locate"])
def test_a_tutorial_runs_as_it_stands(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_users_folder(tmp_path)
    if name == "locate":
        for path in Path("organs").glob("*/*"):  # less to look through
            scan = load_scan(path, labels=path.parent.name == "labels")
            part = scan.array[:, :60, :40, :28]
            type(scan)(part.astype(np.float32), scan.spacing).save(part[0], path)
    names = {"__name__": "page"}
    for block in blocks(DOCS / "tutorials" / f"{name}.md"):
        if block.mark == RUN:
            run(block, names)
    if name == "finetune":
        assert {*names["millilitres"]} == {"background", "cord", "mandible"}
        assert sorted(path.name for path in Path("maps").iterdir()) == ["benign_0.nii.gz", "ct.nii.gz"]
        assert Path("scores.csv").is_file()
    elif name == "compare":
        assert "1 trial of each can show no difference" in Path("runs/compare/compare.html").read_text(encoding="utf-8")
        assert main(["report", "runs/compare"]) == 0
    elif name == "locate":
        assert names["places"].shape == (1, 3)
        assert all(Path(file).is_file() for file in ("places.csv", "places.png", "first.nii.gz", "first.png"))
    else:
        assert names["best"] in ("benign", "malignant")


def test_the_tutorial_of_pre_training_begins_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scans").mkdir()
    for name in ORGANS[:3]:
        (tmp_path / "scans" / f"{name}.nii.gz").symlink_to(DEMO_SAMPLES / "openkbp" / "ct" / f"{name}.nii.gz")
    rows = [f"{name},{part}" for name, part in zip(ORGANS, ("train", "train", "test"), strict=False)]
    (tmp_path / "scans.csv").write_text("\n".join(["patient,split", *rows]), encoding="utf-8")
    for block in blocks(DOCS / "tutorials" / "pretrain.md"):
        if block.mark.startswith("file: "):
            (tmp_path / block.mark.removeprefix("file: ")).write_text(block.text, encoding="utf-8")
        elif block.mark == RUN:
            run(block, {})
    assert (tmp_path / "runs" / "my-weights" / "store.zarr").is_dir()


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    quiet = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=quiet)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    page = (tmp_path / "site" / "reference" / "api" / "index.html").read_text(encoding="utf-8")
    assert "from_pretrained" in page
