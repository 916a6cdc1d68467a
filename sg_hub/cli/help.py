"""How sg-hub's help reads: the commands under headings, one line each, and examples in the help of each."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import textwrap
from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from sg_hub.devices import DEVICES

_WIDTH = 17
_MANY = 8
"""More choices are not listed in a message."""
EXIT_CODES = """\
exit codes:
  0         done
  2         a mistake in what was given, on one line of standard error
  3         some of several inputs failed: they are named at the end, and the others are done
  130, 143  stopped by Ctrl-C or by SIGTERM"""


def is_override(text: str) -> bool:
    """Whether this is `key=value`, and no file of such a name."""
    key, equals, _ = text.partition("=")
    return bool(key and equals) and not ({"/", os.sep} & {*key}) and not os.path.exists(text)


def say(message: str) -> None:
    """One line on standard error."""
    print(f"sg-hub: error: {' '.join(message.split())}", file=sys.stderr)


class Format(argparse.RawDescriptionHelpFormatter):
    """Lines that end between words: names such as semantic-genesis-3d-tiny stay whole."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class Parser(argparse.ArgumentParser):
    """Mistakes in one line instead of a page of usage; of a command with `overrides`, `key=value` counts wherever it
    stands."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but for `key=value` behind an option of several values, which would be one of them."""
        overrides: list[str] = []
        if args is not None and any(action.dest == "overrides" for action in self._actions):
            args, overrides = self._without_overrides(args)
        found, more = super().parse_known_args(args, namespace)
        if overrides:
            found.overrides = [*found.overrides, *overrides]
        return found, more

    def _without_overrides(self, given: Sequence[str]) -> tuple[list[str], list[str]]:
        """What was given without the `key=value` in it, and these. The first value of an option is its own, whatever it
        looks like, and so are all of one that takes such; what is the name of a file is no setting."""
        kept, overrides, own = [], [], 0
        for text in given:
            if text.startswith("-") and len(text) > 1:
                action = self._option_string_actions.get(text)
                count = 0 if "=" in text else 1 if action is None or action.nargs in (None, "+", "*") else action.nargs
                takes_such = action is not None and "=" in str(action.metavar)
                own = len(given) if takes_such else int(count)
            elif own > 0:
                own -= 1
            elif is_override(text):
                overrides.append(text)
                continue
            kept.append(text)
        return kept, overrides

    def error(self, message: str) -> NoReturn:
        say(f"{message}; see {self.prog} --help")
        raise SystemExit(2)

    def unknown(self, given: Sequence[str]) -> NoReturn:
        """Refuse what no option takes."""
        first = given[0].partition("=")[0]
        known = [option for action in self._actions for option in action.option_strings]
        near = difflib.get_close_matches(first, known, n=1) if first.startswith("-") else []
        self.error(f"{' '.join(given)}: not known{f', did you mean {near[0]}?' if near else ''}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """As argparse does, with the nearest choice, and of many choices no list."""
        if action.choices is None or value in action.choices:
            return
        names = [str(choice) for choice in action.choices]
        near = difflib.get_close_matches(str(value), names, n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        there = "" if len(names) > _MANY else f"; choose from {', '.join(names)}"
        raise argparse.ArgumentError(action, f"invalid choice: {str(value)!r}{meant}{there}".replace("?;", "?"))


class AddCommand(Protocol):
    """Adds a command; gives the parser that its options are added to."""

    def __call__(
        self, name: str, run: str, text: str, *, group: str = "More", examples: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        """
        Args:
            run: 'module:function' that runs it.
            text: what it does, in one line.
            group: heading that it stands under.
            examples: command lines that run as they stand, but for the files that they name.
        """


class Commands:
    """The commands of a parser, under headings."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser
        self._added = parser.add_subparsers(
            dest="command",
            required=True,
            metavar="COMMAND",
            help=argparse.SUPPRESS,
            prog=parser.prog,
            parser_class=Parser,
        )
        self._groups: dict[str, list[tuple[str, str]]] = {}

    def __call__(
        self, name: str, run: str, text: str, *, group: str = "More", examples: Sequence[str] = ()
    ) -> argparse.ArgumentParser:
        new: argparse.ArgumentParser = self._added.add_parser(
            name,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog="\n".join(["example:" if len(examples) == 1 else "examples:", *(f"  {one}" for one in examples)])
            if examples
            else None,
            formatter_class=Format,
        )
        new.set_defaults(
            run=run, parser=new, needs=(), warnings=False, stopped="stopped; nothing was left half written"
        )
        new.add_argument("--verbose", action="store_true", help="say what was loaded, and show warnings")
        new.add_argument(
            "--device",
            choices=DEVICES,
            default="auto",
            help="where networks run; auto: on a GPU where there is one (%(default)s)",
        )
        self._groups.setdefault(group, []).append((name, text))
        return new

    def describe(self) -> str:
        """The list of all commands, for the parser's own help."""
        lines = []
        for group, commands in self._groups.items():
            lines += [f"{group}:", *(f"  {name:{_WIDTH}}{text}" for name, text in commands), ""]
        return "\n".join([*lines, "sg-hub COMMAND --help says what a command takes, with an example.", "", EXIT_CODES])
