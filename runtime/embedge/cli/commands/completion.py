"""`embedge completion`: a script that makes a shell complete commands, options and choices."""

import argparse

from embedge.cli import screen
from embedge.cli.completions import SHELLS, script

SUMMARY = "print a completion script for a shell"
DESCRIPTION = """\
Prints a script that makes the Tab key complete commands, options and their choices. It needs no
package, and is made from this version's options: load it where the shell starts."""
EXAMPLES = (
    "embedge completion bash > ~/.local/share/bash-completion/completions/embedge",
    'embedge completion zsh > "${fpath[1]}/_embedge"',
    "embedge completion fish > ~/.config/fish/completions/embedge.fish",
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))


def run(options: argparse.Namespace) -> int:
    """Prints the script."""
    screen.show_lines(script(options.shell, options.root).rstrip("\n"))
    return 0
