"""What the demo refuses before anything is brought up; an exit code of 1 would say that it counted wrongly."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.demo.__main__ import main


@pytest.mark.parametrize("text", ["-3", "0", "nan", "inf", "x"])
def test_a_duration_is_one(text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["flowatlas demo", "--replay", "--duration", text])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert f"argument --duration: '{text}' is not within 1 and 86400 seconds" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_an_output_that_cannot_be_a_folder_is_named(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(sys, "argv", ["flowatlas demo", "--replay", "--output", str(tmp_path / place)])
    assert main() == 2
    assert "flowatlas demo: --output: [Errno 20] Not a directory" in capsys.readouterr().err
