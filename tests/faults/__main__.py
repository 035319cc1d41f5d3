"""`make faults`: run the tests that docs/explanation/faults.md names, and print what came of each row, and what its
tests have reconciled.

Arguments that are numbers pick rows. Each test is run once, although rows may share it.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
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
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={report}", *tests]
        command += ["-o", "junit_family=xunit2", "-o", "junit_logging=system-out"]
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
        cases = list(cases_of(report))
    came_of = outcomes(cases)
    for row in picked:
        print(f"{row.number:2}  {told(row, came_of):34}  {row.fault}")
        for name, case in cases:
            if name in row.tests:
                print("".join(f"      {line}\n" for line in said(case)), end="")
    return code


def cases_of(report: Path) -> Iterator[tuple[str, ElementTree.Element]]:
    """Each test that was run, by its name without parameters."""
    for case in ElementTree.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
        where = case.get("classname", "").replace(".", "/")
        yield f"{where}.py::{case.get('name', '').partition('[')[0]}", case


def said(case: ElementTree.Element) -> list[str]:
    """What a test has printed."""
    text = case.findtext("system-out", "")
    return [line for line in text.splitlines() if line.strip() and not re.fullmatch(r"-+ Captured Out -+", line)]


def outcomes(cases: Iterable[tuple[str, ElementTree.Element]]) -> dict[str, Counter[str]]:
    """How often each test passed, failed and was skipped."""
    found: dict[str, Counter[str]] = {}
    for name, case in cases:
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
