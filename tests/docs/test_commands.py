"""What the docs say to run is there: targets of make, modules, scripts, tests and benchmarks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.shell_lines import PAGES, ROOT

_CODE = re.compile(
    r"`([^`\n]+)`|^(?: {4}|\$ )?((?:\w+=\S+ )*(?:\.venv/bin/)?(?:make|python3?|pytest) .*)$", re.MULTILINE
)
_TARGETS = frozenset(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
_MADE = re.compile(r"^(?:\w+=\S+ )*make ([\w-]+)")
_MODULE = re.compile(r"\bpython3? -m ([\w.]+)((?: [a-z_]+)*)")
_FILE = re.compile(r"\b(?:python3?|pytest)(?: -\w+)* ((?:\w+/)+[\w.]+)(?:::(\w+))?")


def lacking(text: str) -> Iterator[str]:
    """What commands of a Markdown text name and is not there."""
    for code in map("".join, _CODE.findall(text)):
        yield from (f"make {target}" for target in _MADE.findall(code) if target not in _TARGETS)
        for module, arguments in _MODULE.findall(code):
            benches = [f"tests.bench.bench_{name}" for name in arguments.split()] if module == "tests.bench" else []
            yield from (name for name in (module, *benches) if not _is_there(name))
        for path, name in _FILE.findall(code):
            if not (ROOT / path).exists() or (name and f"def {name}(" not in (ROOT / path).read_text()):
                yield f"{path}::{name}" if name else path


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_says_to_run_is_there(page: Path) -> None:
    assert list(lacking(page.read_text())) == []


def test_what_is_not_there_is_found() -> None:
    text = """
`make test` and `make tost`, and to make much of it; `python -m tests.bench lake lace`, `python -m tests.bunch.x`

    FLOWATLAS_FAULTS=all make fults ARGS=1
    python tests/bench/bench_hooks.py
    python tests/bench/bench_hoax.py 7

```sh
POLARS_MAX_THREADS=1 python3 -m docs.generata
pytest -q tests/docs/test_names.py::test_no_such
pytest tests/docs
```
"""
    assert list(lacking(text)) == [
        "make tost",
        "tests.bench.bench_lace",
        "tests.bunch.x",
        "make fults",
        "tests/bench/bench_hoax.py",
        "docs.generata",
        "tests/docs/test_names.py::test_no_such",
    ]
