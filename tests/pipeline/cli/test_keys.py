"""`flowatlas keys`: what is made is what collector and pipeline read."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.nodekeys import KeyFile, Signer
from pipeline.cli.main import main
from pipeline.nodekeys import NodeKeys
from tests.pipeline.batches_for_tests import batch, message


def made(capsys: pytest.CaptureFixture[str], path: Path, *arguments: str) -> Path:
    assert main(["keys", *arguments]) == 0
    path.write_text(capsys.readouterr().out)
    return path


def test_what_a_node_signs_with_its_key_is_its_own_to_who_has_the_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = made(capsys, tmp_path / "root")
    node = made(capsys, tmp_path / "node", "--root", str(root), "node1")
    again = made(capsys, tmp_path / "again", "node1", "--root", str(root))
    assert KeyFile(node, "").keys() == KeyFile(again, "").keys() != KeyFile(root, "").keys()
    one = batch(node="node1")
    NodeKeys(root).check(message(one, headers=Signer(node).headers(one)), "node1")
    assert made(capsys, tmp_path / "other").read_text() != root.read_text()


@pytest.mark.parametrize("arguments", [("node1",), ("--root", "root"), ("--root", "root", "Node")])
def test_wrong_use_is_told(
    arguments: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made(capsys, Path("root"))
    assert main(["keys", *arguments]) == 2
    assert capsys.readouterr().err.startswith("flowatlas keys: NODE")
