"""Checkov's findings, and which of them are meant: `deploy/check/exceptions.yaml` has a reason for each."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
CHECKOV: Final = ROOT / ".cache" / "checkov" / "bin" / "checkov"
EXCEPTIONS: Final = ROOT / "deploy" / "check" / "exceptions.yaml"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check that an object of a case did not pass."""

    case: str
    check: str
    resource: str
    """`Kind.namespace.name`."""
    title: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """A finding that is meant. `resource` matches whole names, as a regular expression."""

    check: str
    resource: str
    reason: str
    case: str = ".*"
    """Of which installations, likewise."""

    def covers(self, finding: Finding) -> bool:
        """Whether it is about this finding."""
        is_object = re.fullmatch(self.resource, finding.resource) is not None
        return self.check == finding.check and is_object and re.fullmatch(self.case, finding.case) is not None


def exceptions(path: Path = EXCEPTIONS) -> list[Waiver]:
    """The exceptions of a file. Raises ValueError where one has no reason."""
    found = [Waiver(**entry) for entry in yaml.safe_load(path.read_text())]
    for entry in found:
        if len(entry.reason.split()) < 5:
            raise ValueError(f"{path.name}: {entry.check} of {entry.resource} has no reason")
    return found


_LABEL: Final = re.compile(r"(app\.kubernetes\.io/(?:name|part-of): )(\S+)")


def apart(name: str, text: str) -> str:
    """A case's text with labels of its own: checkov joins pods and policies of all files by their labels."""
    return _LABEL.sub(rf"\1\2-{name.replace(' ', '-')}", text)


def findings(folder: Path) -> list[Finding]:
    """What checkov says of every file `CASE.yaml` of a folder, without asking the network."""
    command = [str(CHECKOV), "--directory", str(folder), "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run(
        [*command, "--quiet", "--compact", "--output", "json"], capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    if report["summary"]["parsing_errors"] or not report["summary"]["passed"]:
        raise RuntimeError(f"checkov could not read the manifests: {report['summary']}")
    return [
        Finding(Path(entry["file_path"]).stem, entry["check_id"], entry["resource"], entry["check_name"])
        for entry in report["results"]["failed_checks"]
    ]


def unreasoned(found: Sequence[Finding], known: Sequence[Waiver]) -> list[Finding]:
    """The findings that no exception covers."""
    return [finding for finding in found if not any(entry.covers(finding) for entry in known)]


def unused(found: Sequence[Finding], known: Sequence[Waiver]) -> list[Waiver]:
    """The exceptions that cover nothing any more."""
    return [entry for entry in known if not any(entry.covers(finding) for finding in found)]
