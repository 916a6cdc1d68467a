"""What is typed behind the benchmarks' commands."""

import importlib

import pytest


@pytest.mark.parametrize("name", ["model_cost", "onnx_heads", "pretraining_step", "scaling", "speed.__main__"])
def test_help_is_help_and_an_unknown_option_measures_nothing(name, monkeypatch, capsys):
    main = importlib.import_module(f"benchmarks.{name}").main
    for option, code in (("--help", 0), ("--no-such-option", 2)):
        monkeypatch.setattr("sys.argv", [name, option])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    printed = capsys.readouterr()
    assert printed.out.startswith("usage: ")
    assert "--no-such-option" in printed.err
