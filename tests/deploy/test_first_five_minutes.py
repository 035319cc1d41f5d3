"""The readme's first five minutes, command by command as written, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = re.compile(r"^## First five minutes\n(.*?)^## ", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
EXITED = re.compile(r"\n?-- it exited with (\d+) --\n")


def walk_through() -> list[str]:
    """The commands of the section."""
    (section,) = SECTION.findall((ROOT / "README.md").read_text())
    (block,) = BLOCK.findall(section)
    return [line for line in str(block).splitlines() if line]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """What each command printed, run in a folder that has of the checkout what the commands name.

    All exit with 0 but `doctor`, with 1: it finds an error.
    """
    folder = tmp_path_factory.mktemp("checkout")
    for name in (".venv", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    commands = walk_through()
    script = "".join(f"{command}\nprintf '\\n-- it exited with %s --\\n' $?\n" for command in commands)
    environment = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    parts = EXITED.split(done.stdout)
    codes = parts[1::2]
    expected = {command: str(int(command.startswith("flowatlas doctor"))) for command in commands}
    assert dict(zip(commands, codes, strict=True)) == expected, done.stderr[-3000:]
    return list(zip(commands, parts[0::2], strict=False))


def test_the_readme_walks_through_many_commands() -> None:
    words = {tuple(command.split()[:2]) for command in walk_through()}
    assert len(words) >= 6


def test_every_command_runs_and_says_something(ran: list[tuple[str, str]]) -> None:
    assert [command for command, printed in ran if not printed.strip() and not command.startswith("export ")] == []


def test_what_the_readme_promises_is_there(ran: list[tuple[str, str]]) -> None:
    said = {command.split()[1]: printed for command, printed in ran}
    assert "denied" in said["observe"]
    assert "denied. Isolated by NetworkPolicy shop/web-netpol" in said["explain"]
    assert "selector app=legacy matches no pod" in said["doctor"]
    suggested = next(printed for command, printed in ran if "policy suggest" in command)
    assert "kind: NetworkPolicy" in suggested
