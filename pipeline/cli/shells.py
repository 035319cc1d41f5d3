"""Completion scripts of three shells, as text made from a tree of argparse parsers.

All three do the same: the words so far say at which command the cursor is (`place`, "" or " policy whatif"), the word
before says whether a flag takes a value that is wanted, and else the words of the command are offered. A value that no
list holds is completed as files where it is one, and not at all where it is none.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from .command_parser import commands_of

_FILES: Final = frozenset({"FILE", "DIR", "PATH", "FILE[,FILE]"})


@dataclass(frozen=True, slots=True)
class Flag:
    """An option, or what is given without one (`names` is then empty). `values` are all that it takes, if they are few.

    `takes` is False for a switch.
    """

    names: tuple[str, ...]
    told: str
    takes: bool
    values: tuple[str, ...]
    is_file: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A command: its path (" policy whatif"), its sub-commands with what each is, its flags."""

    path: str
    commands: Mapping[str, str]
    flags: tuple[Flag, ...]

    @property
    def options(self) -> list[Flag]:
        """The flags that have names."""
        return [flag for flag in self.flags if flag.names]

    @property
    def words(self) -> dict[str, str]:
        """Sub-commands, the values of what is given without a flag, and the flags, each with what it is."""
        given = {value: "" for flag in self.flags if not flag.names for value in flag.values}
        return {**self.commands, **given, **{name: flag.told for flag in self.options for name in flag.names}}

    @property
    def takes_file(self) -> bool:
        """Whether a file is given without a flag."""
        return any(flag.is_file for flag in self.flags if not flag.names)


def places(parser: argparse.ArgumentParser, path: str = "") -> Iterator[Place]:
    """Every command, the whole first."""
    told = {
        choice.dest: choice.help or ""
        for action in parser._actions
        if isinstance(action, argparse._SubParsersAction)
        for choice in action._choices_actions
    }
    flags = tuple(_flag(a) for a in parser._actions if not isinstance(a, argparse._SubParsersAction))
    yield Place(path, {name: told.get(name, "") for name in commands_of(parser)}, flags)
    for name, command in commands_of(parser).items():
        yield from places(command, f"{path} {name}")


def _flag(action: argparse.Action) -> Flag:
    expanded = argparse.HelpFormatter("flowatlas")._expand_help(action) if action.help else ""
    told = re.sub(r"\s+", " ", expanded)
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    values = tuple(str(choice) for choice in action.choices or ())
    is_file = not values and (action.type is Path or metavar in _FILES)
    return Flag(tuple(action.option_strings), told, action.nargs != 0, values, is_file)


def bash(parser: argparse.ArgumentParser) -> str:
    """For bash 4 and later."""
    every = list(places(parser))
    moves = _cases(f'"{below}") place="{below}" ;;' for below in _below(every))
    values = _cases(f"{_patterns(place, flag)}) {_bash_values(flag)} return ;;" for place, flag in _valued(every))
    words = _cases(
        f'"{place.path}") words="{" ".join(place.words)}"{" files=1" if place.takes_file else ""} ;;' for place in every
    )
    return f"""\
# bash completion of flowatlas, made by `flowatlas completion bash`
_flowatlas() {{
    local cur="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" place="" words="" files="" i
    COMPREPLY=()
    if [[ $cur == "=" ]]; then
        cur=""
    elif [[ $before == "=" ]]; then
        before="${{COMP_WORDS[COMP_CWORD-2]}}"
    fi
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "$place ${{COMP_WORDS[i]}}" in
{moves}
        esac
    done
    case "$place:$before" in
{values}
    esac
    case "$place" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
    if [[ -n $files && $cur != -* ]]; then
        compopt -o filenames 2> /dev/null
        mapfile -t -O "${{#COMPREPLY[@]}}" COMPREPLY < <(compgen -f -- "$cur")
    fi
}}
complete -F _flowatlas flowatlas
"""


def _bash_values(flag: Flag) -> str:
    if flag.values:
        return f'COMPREPLY=($(compgen -W "{" ".join(flag.values)}" -- "$cur"));'
    return 'compopt -o filenames 2> /dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$cur");' if flag.is_file else ""


def zsh(parser: argparse.ArgumentParser) -> str:
    """For zsh with its completion system (compinit)."""
    every = list(places(parser))
    moves = _cases(f'"{below}") place="{below}" ;;' for below in _below(every))
    values = _cases(f"{_patterns(place, flag)}) {_zsh_values(flag)}return ;;" for place, flag in _valued(every))
    words = _cases(
        f'"{place.path}") offered=({" ".join(_described(*word) for word in place.words.items())})'
        f"{'; _files' if place.takes_file else ''} ;;"
        for place in every
    )
    return f"""\
#compdef flowatlas
# zsh completion of flowatlas, made by `flowatlas completion zsh`
_flowatlas() {{
    local place="" before="${{words[CURRENT-1]}}" word
    local -a offered
    if [[ "${{words[CURRENT]}}" == --*=* ]]; then
        before="${{words[CURRENT]%%=*}}"
        compset -P "*="
    fi
    for word in "${{(@)words[2,CURRENT-1]}}"; do
        case "$place $word" in
{moves}
        esac
    done
    case "$place:$before" in
{values}
    esac
    case "$place" in
{words}
    esac
    _describe flowatlas offered
}}
if [[ "${{funcstack[1]}}" == _flowatlas ]]; then
    _flowatlas "$@"
else
    compdef _flowatlas flowatlas
fi
"""


def _zsh_values(flag: Flag) -> str:
    if flag.values:
        return f"compadd -- {' '.join(flag.values)}; "
    return "_files; " if flag.is_file else ""


def _described(word: str, told: str) -> str:
    escaped = word.replace(":", "\\:")
    return _quoted(f"{escaped}:{told}" if told else escaped)


def fish(parser: argparse.ArgumentParser) -> str:
    """For fish 3 and later."""
    every = list(places(parser))
    moves = "\n".join(f"            case '{below}'\n                set place '{below}'" for below in _below(every))
    lines = [line for place in every for line in _fish_lines(place)]
    return f"""\
# fish completion of flowatlas, made by `flowatlas completion fish`
function __flowatlas_at
    set -l place ''
    for word in (commandline -opc)[2..-1]
        switch "$place $word"
{moves}
        end
    end
    test "$place" = "$argv[1]"
end
complete -c flowatlas -f
{chr(10).join(lines)}
"""


def _fish_lines(place: Place) -> Iterator[str]:
    at = f"complete -c flowatlas -n \"__flowatlas_at '{place.path}'\""
    for name, told in place.commands.items():
        yield f"{at} -a {name} -d {_fish_quoted(told)}"
    for flag in place.flags:
        names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in flag.names)
        values = f" -a {_fish_quoted(' '.join(flag.values))}" if flag.values else " -F" if flag.is_file else ""
        if flag.names:
            is_value = " -r" if flag.takes and flag.is_file else " -x" if flag.takes else ""
            yield f"{at} {names}{is_value}{values} -d {_fish_quoted(flag.told)}"
        elif values:
            yield f"{at}{values}"


SHELLS: Final[Mapping[str, Callable[[argparse.ArgumentParser], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _below(every: list[Place]) -> list[str]:
    """The paths of all commands but the whole."""
    return [place.path for place in every if place.path]


def _valued(every: list[Place]) -> list[tuple[Place, Flag]]:
    return [(place, flag) for place in every for flag in place.options if flag.takes]


def _patterns(place: Place, flag: Flag) -> str:
    return " | ".join(f'"{place.path}:{name}"' for name in flag.names)


def _cases(lines: Iterator[str]) -> str:
    return "\n".join(f"        {line}" for line in lines)


def _quoted(text: str) -> str:
    """In single quotes, as bash and zsh read them."""
    inside = text.replace("'", "'\\''")
    return f"'{inside}'"


def _fish_quoted(text: str) -> str:
    inside = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{inside}'"
