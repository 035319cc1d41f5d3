"""Every `flowatlas` command in the docs is one that the command line takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.shell_lines import PAGES, ROOT, commands, unknown


def test_commands_are_found_in_both_kinds_of_blocks_and_nowhere_else() -> None:
    text = """
flowatlas is a word here.

    flowatlas status --server URL

```sh
flowatlas observe \\
    -f
kubectl get pods
```

```python
flowatlas = 1
```
"""
    assert sorted(commands(text)) == ["flowatlas observe -f", "flowatlas status --server URL"]


def test_what_the_command_line_does_not_know_is_told() -> None:
    assert unknown("flowatlas status > x && flowatlas doctor --sate x # why") == [
        "flowatlas status > x && flowatlas doctor --sate x # why: flowatlas doctor: there is no --sate; "
        "did you mean --state?\nsee flowatlas doctor --help"
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_a_page_parse(page: Path) -> None:
    assert [problem for line in commands(page.read_text()) for problem in unknown(line)] == []


def test_runbooks_have_commands() -> None:
    runbooks = [page for page in PAGES if page.parent.name == "runbooks"]
    assert len(runbooks) > 30
    assert [page.name for page in runbooks if "flowatlas " not in page.read_text()] == []
