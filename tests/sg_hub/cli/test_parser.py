"""The options of sg-hub: what they say, what they refuse, and that they wait for nothing."""

import shlex
import subprocess
import sys

import pytest

import sg_hub
from sg_hub.cli.parser import make_parser
from sg_hub.cli.run import PARTLY
from sg_hub.signals import INTERRUPTED
from tests.sg_hub.cli.saying import assert_mistake
from tests.support.folders import ROOT

COMMANDS = make_parser()._subparsers._group_actions[0].choices


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_the_command_does(run, command):
    code, out, error = run(command, "--help")
    assert (code, error) == (0, "")
    assert f"usage: sg-hub {command}" in out
    assert "--help" in out
    assert command in run("--help")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_that_can_be_given(command):
    assert COMMANDS[command].epilog, f"{command} has no example: give command(..., examples=[...])"
    _, *examples = COMMANDS[command].epilog.splitlines()
    for example in examples:
        program, *arguments = shlex.split(example)
        assert (program, make_parser().parse_args(arguments).command) == ("sg-hub", command)


def test_the_list_of_commands_is_one_line_each_under_headings_and_says_the_exit_codes(run):
    lines = run("--help")[1].splitlines()
    shown = [line.split()[0] for line in lines if line.startswith("  ") and line.split()[0] in COMMANDS]
    assert sorted(shown) == sorted(COMMANDS)
    assert max(map(len, lines)) <= 100
    assert {"Weights:", "A task of your own:", "exit codes:"} <= {*lines}
    for code in ("0", "2", str(PARTLY), str(INTERRUPTED)):
        assert any(line.strip().startswith(code) for line in lines)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_device(command):
    assert COMMANDS[command].get_default("device") == "auto"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["embd"], "'embed'"),
        (["restore", "x.nii", "--cubes", "0"], "from 1 to 32"),
        (["restore", "x.nii", "--seed", "-1"], "from 0"),
        (["segment", "x.nii", "--model", "m", "--overlap", "1"], "below 1"),
        (["segment", "x.nii"], "--model"),
        (["classify", "x.nii"], "--model"),
        (["embed", "x.nii", "--nan", "nan"], "expected a number"),
        (["embed", "x.nii", "--spacing", "1", "0", "2"], "expected a positive number of mm"),
        (["embed", "x.nii", "--spacing", "1", "2"], "--spacing"),
        (["embed", "x.nii", "--device", "tpu"], "cuda"),
        (["embed", "x.nii", "--colour"], "--colour"),
        (["embed", "x.nii", "pretrain.epochs=3", "--colour"], "--colour"),
    ],
)
def test_wrong_options_are_one_line_that_leads_to_the_help(run, arguments, word):
    assert_mistake(run(*arguments), word, "--help")


@pytest.mark.parametrize(
    ("command", "option", "values"),
    [
        ("compare --target t --weights a b --patients 1 all settings.steps=2", "patients", ["1", "all"]),
        ("compare --target t --quick settings.steps=2 --weights a b", "weights", ["a", "b"]),
        ("compare --target t --weights a runs/lr=3/model settings.steps=2", "weights", ["a", "runs/lr=3/model"]),
        ("benchmark --targets t --inits a --label-fraction 0.1 settings.steps=2", "label_fraction", [0.1]),
        ("benchmark --targets t --inits a settings.steps=2 --protocol own", "protocol", ["own"]),
        ("pretrain settings.steps=2 demo", "recipe", "demo"),
        ("pretrain demo --quiet settings.steps=2", "recipe", "demo"),
        ("demo settings.steps=2 --finetune a=1 b=2", "finetune", ["a=1", "b=2"]),
        ("demo --out a=1 settings.steps=2", "out", "a=1"),
    ],
)
def test_a_setting_counts_wherever_it_stands(command, option, values):
    options, more = make_parser().parse_known_args(command.split())
    assert (options.overrides, getattr(options, option), more) == (["settings.steps=2"], values, [])


def test_a_setting_of_no_target_is_refused(run):
    assert_mistake(run("targets", "root=/data"), "key=value", "name it")


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["embed", "--help"], ["pretrain", "--help"]])
def test_help_and_version_import_no_torch(arguments):
    code = "import sys, sg_hub.cli\ntry: sg_hub.cli.main(sys.argv[1:])\nfinally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    loaded = set(done.stderr.split())
    assert "sg_hub.cli.parser" in loaded
    assert not loaded & {"torch", "numpy", "pydantic", "huggingface_hub", "tqdm"}


def test_version_is_that_of_the_package(run):
    assert run("--version") == (0, f"{sg_hub.__version__}\n", "")
