"""The entry point where its output goes nowhere: exit codes that no check's outcome can be mistaken for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.main import main

NOBODY = "http://127.0.0.1:1"
MANIFESTS = Path(__file__).resolve().parents[3] / "deploy" / "lab" / "manifests"
TEXT = ("explain", "--state", str(MANIFESTS), "--from", "default/netshoot", "--to", "192.0.2.1", "--port", "80")
HELP = ("policy", "--help")
CSV = ("attribute", "--state", str(MANIFESTS), "--flows", "FLOWS", "-o", "csv")
PARQUET = (*CSV[:-1], "parquet")


def ended(arguments: tuple[str, ...], tmp_path: Path, to: int, *, is_buffered: bool) -> tuple[int, str]:
    """The exit code and what was said on standard error, with standard output at the descriptor `to`."""
    flows = tmp_path / "flows.jsonl"
    flows.write_text('{"src_ip":"10.244.1.13","dst_ip":"10.96.0.10","dst_port":53,"protocol":"UDP"}\n')
    words = [word.replace("FLOWS", str(flows)) for word in arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if is_buffered else "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *words],
        stdout=to,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env=environment,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(("question", "is_buffered"), [(TEXT, True), (HELP, True), (CSV, True), (CSV, False)])
def test_a_reader_that_has_left_is_no_error_and_no_answer(
    question: tuple[str, ...], is_buffered: bool, tmp_path: Path
) -> None:
    gone, ours = os.pipe()
    os.close(gone)
    try:
        assert ended(question, tmp_path, ours, is_buffered=is_buffered) == (141, "")
    finally:
        os.close(ours)


@pytest.mark.parametrize("question", [TEXT, CSV, PARQUET])
def test_a_full_disk_is_said_and_no_failed_check(question: tuple[str, ...], tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        code, said = ended(question, tmp_path, full.fileno(), is_buffered=True)
    assert (code, said) == (2, "flowatlas: [Errno 28] No space left on device\n")


@pytest.mark.parametrize(
    ("closed", "code", "said"),
    [
        ("0", 0, ""),
        ("1", 2, "flowatlas: [Errno 9] Bad file descriptor\n"),
        ("2", 0, ""),
        ("01", 2, "flowatlas: [Errno 9] Bad file descriptor\n"),
        ("12", 2, ""),
        ("012", 2, ""),
    ],
)
def test_an_output_that_is_closed_is_as_one_that_is_full_and_other_streams_are_not_missed(
    closed: str, code: int, said: str
) -> None:
    shut = " ".join(f"{number}>&-" for number in closed)
    command = f'exec "$@" {shut}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, "sh", sys.executable, "-m", "pipeline.cli.main", *TEXT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, said)
    assert bool(done.stdout) == (code == 0)


def test_a_terminal_of_few_letters_is_no_reason_to_break_off(tmp_path: Path) -> None:
    flows, state = tmp_path / "flows.jsonl", tmp_path / "state.yaml"
    flows.write_text('{"src_ip":"10.0.0.1","dst_ip":"192.0.2.1","dst_port":443,"protocol":6}\n')
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "bücher→", "namespace": "shop"}}
    state.write_text(json.dumps(pod | {"spec": {}, "status": {"phase": "Running", "podIP": "10.0.0.1"}}))
    asked = ("observe", "--flows", str(flows), "--state", str(state), "-o", "table")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.main", *asked],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 0, done.stderr
    assert "shop/bücher? " in done.stdout.decode("latin-1")


def test_a_store_that_does_not_answer_is_said_in_one_line_and_is_no_failed_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"ENDPOINT_URL": NOBODY, "ALLOW_HTTP": "true", "REGION": "x", "ACCESS_KEY_ID": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    assert main(["doctor", "--lake", "s3://bucket/lake"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("flowatlas doctor: lake: s3://bucket/lake/flows: ")
    assert "Connection refused" in line
    assert "\x1b" not in line
