"""`make faults`: run the tests that docs/explanation/faults.md names, and print what came of each row.

Arguments that are numbers pick rows. Each test is run once, although rows may share it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.page import ROOT, Row, rows


def main() -> int:
    wanted = {int(argument) for argument in sys.argv[1:]}
    picked = [row for row in rows() if not wanted or row.number in wanted]
    tests = list(dict.fromkeys(test for row in picked for test in row.tests))
    if not tests:
        print("no test is named for these rows")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit2", f"--junit-xml={report}", *tests]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        came_of = outcomes(report)
    for row in picked:
        print(f"{row.number:2}  {told(row, came_of):34}  {row.fault}")
    return code


def outcomes(report: Path) -> dict[str, Counter[str]]:
    """How often each test passed, failed and was skipped, by its name without parameters."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        name = f"{case.attrib['classname'].replace('.', '/')}.py::{case.attrib['name'].partition('[')[0]}"
        kinds = {child.tag for child in case}
        is_bad = bool(kinds & {"failure", "error"})
        outcome = "failed" if is_bad else "skipped" if "skipped" in kinds else "passed"
        found.setdefault(name, Counter())[outcome] += 1
    return found


def told(row: Row, came_of: dict[str, Counter[str]]) -> str:
    """What came of a row's tests."""
    sums = sum((came_of.get(test, Counter({"not run": 1})) for test in row.tests), Counter[str]())
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(sums.items())) or "no test"


if __name__ == "__main__":
    sys.exit(main())
