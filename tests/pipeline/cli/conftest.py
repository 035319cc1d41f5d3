"""What tests of the command line share: the command itself, in the test's own process."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

from pipeline.cli.main import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`flowatlas` with these arguments, answered as by a process: a real one takes a second to import what it needs."""

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        try:
            code = main(arguments)
        except SystemExit as ended:  # by who reads the command line
            code = int(ended.code or 0)
        out, err = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, out, err)

    return ran
