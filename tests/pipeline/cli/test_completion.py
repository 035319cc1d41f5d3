"""Completion in the shells themselves: each reads its script and is asked what it would offer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.command_parser import commands_of
from pipeline.cli.completion import with_demo
from pipeline.cli.main import parser
from pipeline.cli.shells import SHELLS, places

COMMANDS = sorted(commands_of(parser()))

BASH = """
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_flowatlas
printf '%s\\n' "${COMPREPLY[@]}"
"""
ZSH = """
compadd() { [[ $1 != -- ]] || shift; print -rl -- "${@/#/$eaten}" }
_describe() { print -rl -- "${(@)${(@P)2}%%:*}" }
_files() { print -rl -- *(N) }
compdef() { }
compset() { [[ $2 == "*=" ]] && eaten="${words[CURRENT]%%=*}=" }
source $1; shift
words=("$@") CURRENT=$#
_flowatlas
"""
FISH = """
source $argv[1]
complete -C "$argv[2..]" | string split -f1 \\t
"""


def offered(shell: str, tmp_path: Path, *words: str) -> list[str]:
    """What the shell offers in place of the last word. zsh and fish narrow it down to the word by themselves."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / f"flowatlas.{shell}"
    script.write_text(SHELLS[shell](parser()))
    program = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    start = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    asked = tmp_path / "asked"
    asked.write_text(program)
    given = ["flowatlas", *words] if shell != "fish" else [" ".join(("flowatlas", *words))]
    done = subprocess.run(
        [shell, *start, str(asked), str(script), *given], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.stderr == ""
    return [line for line in done.stdout.splitlines() if line.startswith(words[-1])]


@pytest.mark.parametrize("shell", SHELLS)
class TestOfAShell:
    """The same questions to each."""

    def test_commands(self, shell: str, tmp_path: Path) -> None:
        words = offered(shell, tmp_path, "")
        assert sorted(word for word in words if not word.startswith("-") and word not in _FILES) == COMMANDS

    def test_commands_that_begin_so(self, shell: str, tmp_path: Path) -> None:
        assert offered(shell, tmp_path, "da") == ["dashboards"]

    def test_commands_below(self, shell: str, tmp_path: Path) -> None:
        words = offered(shell, tmp_path, "policy", "")
        assert {"whatif", "suggest", "unused", "coverage", "mismatches"} <= set(words)
        assert "observe" not in words

    def test_flags_of_the_command_alone(self, shell: str, tmp_path: Path) -> None:
        words = offered(shell, tmp_path, "policy", "whatif", "--f")
        assert "--fail-on-deny" in words
        assert "--from-pod" not in words

    def test_values_of_a_flag(self, shell: str, tmp_path: Path) -> None:
        assert offered(shell, tmp_path, "observe", "--verdict", "d") == ["denied", "dropped_allowed"]

    def test_values_after_a_flag_of_the_whole(self, shell: str, tmp_path: Path) -> None:
        assert offered(shell, tmp_path, "--log-level", "info", "stat") == ["status"]

    def test_values_given_without_a_flag(self, shell: str, tmp_path: Path) -> None:
        assert offered(shell, tmp_path, "completion", "z") == ["zsh"]

    def test_files(self, shell: str, tmp_path: Path) -> None:
        (tmp_path / "state.yaml").touch()
        assert offered(shell, tmp_path, "doctor", "--state", "sta") == ["state.yaml"]

    def test_a_file_whose_name_has_a_space(self, shell: str, tmp_path: Path) -> None:
        (tmp_path / "my state.yaml").touch()
        assert offered(shell, tmp_path, "doctor", "--state", "my") == ["my state.yaml"]

    def test_nothing_where_a_name_is_wanted(self, shell: str, tmp_path: Path) -> None:
        (tmp_path / "shop").touch()
        assert offered(shell, tmp_path, "doctor", "--pod", "sh") == []


_FILES = ("asked", "flowatlas.bash", "flowatlas.zsh", "flowatlas.fish")


def test_bash_completes_after_an_equals_sign(tmp_path: Path) -> None:
    """bash makes three words of it."""
    assert offered("bash", tmp_path, "observe", "--verdict", "=", "den") == ["denied"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_others_complete_after_an_equals_sign(shell: str, tmp_path: Path) -> None:
    """To them it is one word, of which the value is the end."""
    whole = ["--verdict=denied", "--verdict=dropped_allowed"]
    assert set(whole) <= set(offered(shell, tmp_path, "observe", "--verdict="))


def test_every_command_is_a_place() -> None:
    assert {"", " policy whatif", " completion"} <= {place.path for place in places(parser())}


def test_help_texts_are_expanded_and_of_one_line() -> None:
    told = [flag.told for place in places(parser()) for flag in place.flags]
    assert not [text for text in told if "\n" in text or "%(" in text]


def test_the_demo_is_completed_by_its_own_options() -> None:
    (place,) = (place for place in places(with_demo(parser())) if place.path == " demo")
    assert {"--misdeed", "--keep", "--source"} <= set(place.words)
    assert "conntrack" in {value for flag in place.options for value in flag.values}
