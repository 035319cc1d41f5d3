"""The command-line and settings reference page, made from the parsers and the settings' own classes."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import inspect
import itertools
import os
import re
from collections.abc import Iterator

from collector.config import CollectorConfig

from ..config import PipelineConfig
from ..inventory.watch.config import WatcherConfig
from .command_parser import HelpFormatter
from .settings import PREFIX

COLUMNS = "100"
"""The width that help texts are wrapped at, whatever terminal they are made on."""

INTRODUCTION = """# Commands and settings

Made from the code by `make docs`; do not edit.

Exit codes of every command: 0 fine, 1 the check failed, 2 wrong use or input, with the file, line or key named, or an
output that cannot be written; 130 after Ctrl-C; 141 where whoever reads the output left before its end (`| head`).

A setting comes from, later over earlier: its default, the YAML file that `--config` names (a section a component), the
environment, a flag. Of one whose default is `none`, `none` or nothing at all takes back what an earlier one says.
"""


class _Formatter(HelpFormatter):
    """Writes options in one way, whatever the Python version: `-o, --output FORMAT`."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        names = ", ".join(action.option_strings)
        if action.nargs == 0:
            return names
        return f"{names} {self._format_args(action, self._get_default_metavar_for_optional(action))}"


def reference(parser: argparse.ArgumentParser) -> str:
    """The page as Markdown."""
    parts = [INTRODUCTION, "## Commands\n"]
    parts += [f"### {title}\n\n```text\n{text}```\n" for title, text in _helps(parser)]
    parts.append("## Settings\n")
    for section, config in (("collector", CollectorConfig), ("pipeline", PipelineConfig), ("watcher", WatcherConfig)):
        parts += [f"### {section}\n", _table(section, config)]
    return "\n".join(parts)


def _helps(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        yield from _walk(parser)
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before


def _walk(parser: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    parser.formatter_class = _Formatter
    yield parser.prog, parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _walk(command)


def _table(section: str, config: type) -> str:
    meanings = _meanings(config)
    lines = ["| key | environment | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(config):
        default = "required" if field.default is dataclasses.MISSING else f"`{_shown(field.default)}`"
        variable = f"{PREFIX}{section.upper()}_{field.name.upper()}"
        lines.append(f"| `{field.name}` | `{variable}` | {default} | {meanings.get(field.name, '')} |")
    return "\n".join(lines) + "\n"


def _shown(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _meanings(config: type) -> dict[str, str]:
    """The text below each field of a dataclass, by the field's name."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(config)).body if isinstance(node, ast.ClassDef))
    texts: dict[str, str] = {}
    for field, text in itertools.pairwise(body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                texts[name] = re.sub(r"\s+", " ", meaning).replace("|", "\\|")
            case _:
                pass
    return texts
