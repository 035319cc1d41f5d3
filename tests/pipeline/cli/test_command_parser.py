"""Wrong use is answered with what was probably meant, and every help has examples that can be used as they are."""

from __future__ import annotations

import argparse
import io
from contextlib import redirect_stderr

import pytest

from deploy.demo.__main__ import parser as demo_parser
from pipeline.cli.command_parser import CommandParser, commands_of, examples, walk
from pipeline.cli.main import parser
from tests.docs.shell_lines import unknown

ALL = [*(each for each in walk(parser()) if each.prog != "flowatlas demo"), demo_parser()]
"""The demo brings its own parser, to which the command line hands everything after its name."""


def said(*arguments: str) -> str:
    errors = io.StringIO()
    with redirect_stderr(errors), pytest.raises(SystemExit) as exited:
        parser().parse_args(arguments)
    assert exited.value.code == 2
    return errors.getvalue()


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (
            ("obsrve",),
            "flowatlas: argument COMMAND: there is no 'obsrve'; did you mean observe?\nsee flowatlas --help\n",
        ),
        (("policy", "whatis"), "flowatlas policy: argument QUESTION: there is no 'whatis'; did you mean whatif?\n"),
        (("observe", "--namspace", "shop"), "flowatlas observe: there is no --namspace; did you mean --namespace?\n"),
        (("observe", "--namspace=shop"), "flowatlas observe: there is no --namspace; did you mean --namespace?\n"),
        (
            ("observe", "-o", "tabel"),
            "flowatlas observe: argument -o/--output: there is no 'tabel'; did you mean table?",
        ),
        (("observe", "--verdict", "denid"), "argument --verdict: there is no 'denid'; did you mean denied?"),
        (("observe", "--outcome", "xyzzy"), "there is no 'xyzzy'; choose from open, closed, refused, reset, no_reply"),
        (("--nothing", "status"), "flowatlas: there is no --nothing\nsee flowatlas --help\n"),
        (("status", "now"), "flowatlas status: nothing is meant by 'now'\nsee flowatlas status --help\n"),
    ],
)
def test_wrong_words(arguments: tuple[str, ...], answer: str) -> None:
    assert answer in said(*arguments)


def test_what_is_right_is_taken() -> None:
    taken = parser().parse_args(["observe", "--verdict", "denied", "-n", "shop"])
    assert [(c.kind, c.value) for c in taken.conditions] == [("verdict", "denied"), ("namespace", "shop")]


@pytest.mark.parametrize("command", ALL, ids=lambda each: each.prog)
def test_every_help_has_examples_of_its_command_that_parse(command: argparse.ArgumentParser) -> None:
    given = examples(command)
    assert given
    assert all(command.prog in line for line in given)
    assert [problem for line in given if "COMMAND" not in line for problem in unknown(line)] == []


def test_a_name_with_hyphens_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    parser = CommandParser(prog="x")
    parser.add_argument("--do", help="one of: " + ", ".join(["interface-errors-of-pods"] * 9))
    assert parser.format_help().count("interface-errors-of-pods") == 9


def test_examples_stand_one_a_line_and_unbroken() -> None:
    line = "flowatlas x --" + "long" * 40
    shown = CommandParser(prog="x", epilog=f"Prose first. examples: {line}; flowatlas y").format_help().splitlines()
    assert shown[-5:] == ["Prose first.", "", "examples:", f"  {line}", "  flowatlas y"]


def test_sub_commands_have_the_same_parser() -> None:
    assert all(isinstance(command, CommandParser) for command in ALL)
    assert "whatif" in commands_of(commands_of(parser())["policy"])


def test_a_misdeed_that_there_is_none_of(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo_parser().parse_args(["--misdeed", "skew,port-scn"])
    assert "there is no 'port-scn'; did you mean port-scan?" in capsys.readouterr().err


def test_all_misdeeds_and_some() -> None:
    assert len(demo_parser().parse_args(["--misdeed", "all"]).misdeed) > 15
    assert demo_parser().parse_args(["--misdeed", "skew,refused"]).misdeed == ["skew", "refused"]
