"""What the images' recipes install, installed into a clean folder: it holds what it should, and works from there."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from pathlib import Path

import pytest

from deploy.demo.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
CYCLONEDX = ROOT / ".cache" / "sbom" / "bin" / "cyclonedx-py"
INSTALL = ROOT / "deploy" / "images" / "install.sh"


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collector's folder, as its image has it."""
    target = tmp_path_factory.mktemp("image") / "flowatlas"
    done = subprocess.run([INSTALL, "collector", target], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("flowatlas ")
    return target


def packages(target: Path) -> set[str]:
    (folder,) = target.glob("lib/python*/site-packages")
    return {path.name.partition("-")[0].lower() for path in folder.glob("*.dist-info")}


def test_the_collectors_image_holds_what_it_runs_on_and_nothing_more(collector: Path) -> None:
    names = [line.replace("-", "_") for line in (INSTALL.parent / "collector.txt").read_text().split("\n") if line]
    wanted = {name for name in names if not name.startswith("#")}
    assert packages(collector) == wanted | {"flowatlas"}


def test_its_own_files_are_the_projects(collector: Path) -> None:
    (folder,) = collector.glob("lib/python*/site-packages")
    for package in ("collector", "pipeline", "dashboards"):
        ours = {path.relative_to(ROOT) for path in (ROOT / package).rglob("*.py")}
        assert {path.relative_to(folder) for path in (folder / package).rglob("*.py")} == ours
    assert not (folder / "tests").exists()


def test_it_collects(collector: Path, tmp_path: Path) -> None:
    port = free_port()
    command = [str(collector / "bin" / "flowatlas"), "collect", "--node=n", f"--bus=file://{tmp_path}/bus"]
    process = subprocess.Popen(
        [*command, "--sources=counters", f"--metrics=127.0.0.1:{port}"],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/bin"},
    )
    try:
        deadline = time.monotonic() + 90
        while not is_ready(port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.terminate()
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0, said
    finally:
        process.kill()


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.mark.checkov
def test_what_it_holds_can_be_listed(collector: Path, tmp_path: Path) -> None:
    """As `make sbom` does it."""
    bill = tmp_path / "sbom.json"
    command = [str(CYCLONEDX), "environment", str(collector / "bin" / "python"), "--output-file", str(bill)]
    subprocess.run(command, check=True, capture_output=True)
    listed = json.loads(bill.read_text())
    assert listed["bomFormat"] == "CycloneDX"
    assert {part["name"].lower().replace("-", "_") for part in listed["components"]} == packages(collector)
    assert all(part.get("version") for part in listed["components"])


def test_a_package_that_is_not_the_locks_is_refused(tmp_path: Path, collector: Path) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("msgspec=="))
    lock = tmp_path / "other.lock"
    lock.write_text(f"{lines[start]}\n    --hash=sha256:{64 * '0'}\n")
    uv = [str(ROOT / ".venv" / "bin" / "uv"), "pip", "install", "--reinstall", "--no-cache"]
    command = [*uv, "--python", str(collector / "bin" / "python"), "--constraints", str(lock), "msgspec"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "hash" in done.stderr.lower(), done.stderr


def test_a_component_that_is_none_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([INSTALL, "broker", tmp_path / "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "neither" in done.stderr
