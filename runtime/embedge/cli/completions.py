"""Completion scripts for bash, zsh and fish, from the parser of the command line.

Takes a parser with commands, gives a script's text. A script knows commands, options and choices;
everything else is completed as file names. Knows argparse and the three shells.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Flag:
    """An option of a command."""

    names: tuple[str, ...]  # "-p", "--pack"
    takes: str  # what its value is called; "" for one that takes none
    choices: tuple[str, ...]  # values that it can have; empty: anything, as a file's name
    text: str  # one line


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its options; the positions that have choices, such as a shell's name."""

    name: str
    text: str
    flags: tuple[Flag, ...]
    words: tuple[str, ...]  # choices of positions


def script(shell: str, parser: argparse.ArgumentParser) -> str:
    """The completion script for one of SHELLS."""
    (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    texts = {choice.dest: choice.help or "" for choice in commands._choices_actions}
    found = [
        Command(name, _line(texts[name]), tuple(_flags(one)), tuple(_words(one)))
        for name, one in commands.choices.items()
    ]
    return _WRITERS[shell](tuple(_flags(parser)), found)


def _flags(parser: argparse.ArgumentParser) -> Iterator[Flag]:
    for action in parser._actions:
        if action.option_strings:
            takes = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
            choices = () if action.choices is None else tuple(map(str, action.choices))
            text = (action.help or "") % {**vars(action), "prog": parser.prog}
            yield Flag(tuple(action.option_strings), takes, choices, _line(text))


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if not action.option_strings and action.choices is not None:
            yield from map(str, action.choices)


def _line(text: str) -> str:
    """A help text without what shells take for theirs: its first words, up to an aside."""
    plain = re.split(r" \(|[:;]", text, maxsplit=1)[0]
    return re.sub(r"[^\w ,.=/-]", "", plain)


def _names(flags: Iterable[Flag]) -> str:
    return " ".join(name for flag in flags for name in flag.names)


def _bash(common: tuple[Flag, ...], commands: list[Command]) -> str:
    values, options, words = [], [], []
    for command in commands:
        for flag in command.flags:
            if flag.takes:
                pattern = "|".join(f"{command.name}:{name}" for name in flag.names)
                given = f'COMPREPLY=($(compgen -W "{" ".join(flag.choices)}" -- "$current")); '
                values.append(f"    {pattern}) {given if flag.choices else ''}return ;;")
        options.append(f'      {command.name}) words="{_names(command.flags)}" ;;')
        if command.words:
            words.append(f'    {command.name}) words="{" ".join(command.words)}" ;;')
    names = " ".join(command.name for command in commands)
    return "\n".join(
        [
            '# bash completion of embedge: eval "$(embedge completion bash)" in ~/.bashrc',
            "_embedge() {",
            '  local current="${COMP_WORDS[COMP_CWORD]}" previous="${COMP_WORDS[COMP_CWORD-1]}"',
            '  local command="" word words=""',
            "  COMPREPLY=()",
            '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f'    case "$word" in {names.replace(" ", "|")}) command="$word"; break ;; esac',
            "  done",
            '  case "$command:$previous" in',
            *values,
            "  esac",
            '  if [[ "$current" == -* ]]; then',
            '    case "$command" in',
            *options,
            f'      *) words="{_names(common)}" ;;',
            "    esac",
            "  else",
            '    case "$command" in',
            *words,
            f'    "") words="{names}" ;;',
            "    esac",
            "  fi",
            '  if [[ -n "$words" ]]; then COMPREPLY=($(compgen -W "$words" -- "$current")); fi',
            "}",
            "complete -o default -o bashdefault -F _embedge embedge",
            "",
        ]
    )


def _zsh(common: tuple[Flag, ...], commands: list[Command]) -> str:
    def spec(flag: Flag) -> Iterator[str]:
        value = ""
        if flag.takes:
            action = f"({' '.join(flag.choices)})" if flag.choices else "_files"
            value = f":{re.sub(r'[^A-Za-z0-9 ]', ' ', flag.takes)}:{action}"
        for name in flag.names:
            yield f"'*{name}[{flag.text}]{value}'"

    def arguments(flags: Iterable[Flag], rest: str) -> str:
        parts = [part for flag in flags for part in spec(flag)]
        return " \\\n        ".join(["_arguments", *parts, rest])

    cases = []
    for command in commands:
        rest = f"'*:word:({' '.join(command.words)})'" if command.words else "'*:file:_files'"
        cases.append(f"      {command.name})\n        {arguments(command.flags, rest)} ;;")
    described = "\n".join(f"    '{one.name}:{one.text}'" for one in commands)
    flags = arguments(common, "'1:command:->commands' '*::argument:->arguments'")
    return f"""\
#compdef embedge
# zsh completion of embedge: source <(embedge completion zsh) in ~/.zshrc, after compinit
_embedge() {{
  local state line curcontext="$curcontext"
  local -a commands
  commands=(
{described}
  )
  {flags.replace("_arguments", "_arguments -C", 1)}
  case "$state" in
    commands) _describe command commands ;;
    arguments)
      case "$line[1]" in
{chr(10).join(cases)}
      esac ;;
  esac
}}
if [[ "$funcstack[1]" == _embedge ]]; then _embedge "$@"; else compdef _embedge embedge; fi
"""


def _fish(common: tuple[Flag, ...], commands: list[Command]) -> str:
    def flag_line(flag: Flag, condition: str) -> str:
        words = [f"complete -c embedge -n {condition}"]
        for name in flag.names:
            words.append(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}")
        if flag.choices:
            words.append(f"-x -a '{' '.join(flag.choices)}'")
        elif flag.takes:
            words.append("-r -F")
        return " ".join([*words, f"-d '{flag.text}'"])

    lines = [
        "# fish completion of embedge: embedge completion fish | source",
        *[flag_line(flag, "__fish_use_subcommand") for flag in common],
    ]
    for one in commands:
        seen = f"'__fish_seen_subcommand_from {one.name}'"
        lines.append(
            f"complete -c embedge -n __fish_use_subcommand -f -a {one.name} -d '{one.text}'"
        )
        if one.words:
            lines.append(f"complete -c embedge -n {seen} -f -a '{' '.join(one.words)}'")
        lines += [flag_line(flag, seen) for flag in one.flags]
    return "\n".join([*lines, ""])


_WRITERS: Mapping[str, Callable[[tuple[Flag, ...], list[Command]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
SHELLS = tuple(_WRITERS)
