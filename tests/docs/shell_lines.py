"""The `flowatlas` commands in texts: those in blocks, and whether the command line knows them."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from deploy.demo.__main__ import parser as demo_parser
from pipeline.cli.main import parser

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("deploy/**/*.md"),
        *ROOT.glob("notebooks/*.md"),
    ]
    if path.name != "CHANGELOG.md" and "reference" not in path.parts
)

_JOINED = re.compile(r"\s*\\\n\s*")
_FENCE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
_INDENTED = re.compile(r"(?m)^ {4}(.*)$")
_SHELL = ("", "sh", "bash", "shell", "console", "text")
_PLACEHOLDERS = {"PORT": "80"}
"""Words for what the reader puts in, where the command line takes numbers alone."""
_AND_SO_ON = "..."
_OPERATORS = frozenset({"&&", "||", ";", "|", "&", ">", ">>", "<", "2>", "(", ")"})
_INTO = frozenset({">", ">>", "<", "2>"})
_STARTS = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(?:sudo )?(?:\.venv/bin/)?flowatlas ")


def commands(text: str) -> Iterator[str]:
    """The lines of code blocks in a Markdown text that begin with `flowatlas`, continued lines joined."""
    joined = _JOINED.sub(" ", text)
    for language, block in _FENCE.findall(joined):
        if language in _SHELL:
            yield from (line.strip() for line in block.splitlines() if _STARTS.match(line.strip()))
    yield from (line for line in _INDENTED.findall(_FENCE.sub("", joined)) if _STARTS.match(line))


def unknown(line: str) -> list[str]:
    """What the command line does not know of the `flowatlas` calls in a line of shell; empty where all are right."""
    problems = []
    for words in _calls(line):
        errors = io.StringIO()
        try:
            with redirect_stderr(errors), redirect_stdout(io.StringIO()):
                if parser().parse_args(words).command == "demo":
                    demo_parser().parse_args(words[words.index("demo") + 1 :])
        except SystemExit as exited:
            if exited.code:
                problems.append(f"{line}: {errors.getvalue().strip()}")
    return problems


def _calls(line: str) -> Iterator[list[str]]:
    """The arguments of each call of flowatlas."""
    plain = re.sub(r"\$\([^)]*\)", "SUBSTITUTED", line)
    lexer = shlex.shlex(plain, posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    call: list[str] | None = None
    before = ""
    for word in lexer:
        if word in _OPERATORS:
            if call is not None:
                yield call
            call = None
        elif call is not None:
            call += [_PLACEHOLDERS.get(word, word)] if word != _AND_SO_ON else []
        elif before not in _INTO and word.rpartition("/")[2] == "flowatlas":
            call = []
        before = word
    if call is not None:
        yield call
