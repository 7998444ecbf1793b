"""Messages of the runtime, which name Python's arguments, with the flags of the command line.

Takes a message and a command's parser. An argument that the command has no flag for stays as it is.
"""

import argparse
import re
from collections.abc import Mapping

# A message that serves both names the flag and, behind it, Python's argument: this is the latter.
_BESIDE = re.compile(r"(?<=\S) \([a-z_]+=[\w.]*\)")
_VALUE = r"""(?:=(?:"([^"]*)"|'([^']*)'|([\w.]*\w))?)"""


def flags_of(parser: argparse.ArgumentParser) -> Mapping[str, str]:
    """The flag of each argument that has one: {"max_length": "--max-length"}."""
    return {
        action.dest: name
        for action in parser._actions
        for name in action.option_strings
        if name == f"--{action.dest.replace('_', '-')}"
    }


def in_flags(message: str, flags: Mapping[str, str]) -> str:
    """The message with `max_length=8` as `--max-length 8`, and `on_overflow="error"` likewise.

    A name with an underscore is taken for the argument wherever it stands as a word; one that may
    be an ordinary word, such as "task", only with its equals sign. Python's name in
    parentheses behind a flag goes: `--base FOLDER (base=)` is `--base FOLDER`.
    """
    message = _BESIDE.sub("", message) if "--" in message else message
    for name, flag in flags.items():
        value = f"{_VALUE}?" if "_" in name else _VALUE
        pattern = rf"(?<![\w./\\-]){name}{value}(?![\w/\\]|\.\w)"

        def flagged(found: re.Match[str], flag: str = flag) -> str:
            given = next((group for group in found.groups() if group is not None), None)
            return flag if given in (None, "True") else f"{flag} {given}"

        message = re.sub(pattern, flagged, message)
    return message
