"""The parser of every command: errors that name what was probably meant, and examples that can be copied."""

from __future__ import annotations

import argparse
import difflib
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn

_EXAMPLES: Final = re.compile(r"\bexamples?: ")
_NEXT: Final = re.compile(r"; (?=[A-Z_]+=|flowatlas |kubectl )")


class HelpFormatter(argparse.HelpFormatter):
    """Text is wrapped as ever; what follows `example:` is commands, one a line, and none is broken."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        prose, _, commands = _parted(text)
        parts = [super()._fill_text(prose, width, indent)] if prose else []
        if commands:
            shown = _NEXT.split(commands)
            if parts:
                parts.append("")
            parts += [f"{indent}example{'s' if len(shown) > 1 else ''}:", *(f"{indent}  {line}" for line in shown)]
        return "\n".join(parts)

    def _split_lines(self, text: str, width: int) -> list[str]:
        """Names with hyphens stay whole, so that they can be copied."""
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)


class CommandParser(argparse.ArgumentParser):
    """As argparse's, of which sub-commands' parsers are made too. Wrong use exits with 2."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(*arguments, **options)

    def parse_known_args(  # type: ignore[override]  # the overloads of typeshed say the same
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """As argparse's, but what a command does not know is said by that command, with its own usage."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            flags = [word for word in unknown if word.startswith("-")]
            self.error("; ".join(map(self._unknown, flags)) or f"nothing is meant by {' '.join(unknown)!r}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, without the usage of all flags; exits with 2."""
        self.exit(2, f"{self.prog}: {message}\nsee {self.prog} --help\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(action, f"there is no {value!r}{suggestion(str(value), choices)}")

    def _unknown(self, word: str) -> str:
        flag = word.partition("=")[0]
        known = [name for action in self._actions for name in action.option_strings]
        return f"there is no {flag}{meant(flag, known)}"


def suggestion(value: str, choices: Iterable[str]) -> str:
    """What to say after a name that is none of the choices: the nearest, or all where none is near."""
    names = list(choices)
    return meant(value, names) or f"; choose from {', '.join(names)}"


def meant(value: str, names: Iterable[str]) -> str:
    """What to say after a name that is none of many: the nearest; nothing where none is near."""
    near = difflib.get_close_matches(value, names, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def examples(parser: argparse.ArgumentParser) -> list[str]:
    """The commands that a parser's help gives as examples."""
    commands = _parted(parser.epilog or "")[2]
    return _NEXT.split(commands) if commands else []


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The sub-commands of a parser, by name."""
    return {
        name: command
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for name, command in action.choices.items()
    }


def walk(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and all below it."""
    yield parser
    for command in commands_of(parser).values():
        yield from walk(command)


def _parted(text: str) -> tuple[str, str, str]:
    """What is said before the examples, the word for them, and they."""
    found = _EXAMPLES.search(text)
    return (text[: found.start()].rstrip(), found[0], text[found.end() :]) if found else (text, "", "")
