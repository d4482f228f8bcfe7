"""Writes cli.md, which lies beside this file: what `--help` says of widedeep and of each command.

Run it after a change of a command or an option: python docs/write_cli_reference.py
"""

import contextlib
import io
import os
from pathlib import Path
from unittest import mock

from widedeep_cli.main import COMMANDS, dispatch  # type: ignore[import-not-found]

PAGE = Path(__file__).with_name("cli.md")

_HEAD = """\
# The command line

What `widedeep --help` and `widedeep COMMAND --help` say, written by `python docs/write_cli_reference.py`.

Your shell completes commands, options, bundled recipes and the runs of the current folder once it has read what
`--show-completion` prints:

- bash, in `~/.bashrc`: `eval "$(widedeep --show-completion bash)"`
- zsh, in `~/.zshrc` behind `compinit`: `eval "$(widedeep --show-completion zsh)"`
- fish, in `~/.config/fish/config.fish`: `widedeep --show-completion fish | source`
"""


def reference() -> str:
    """The whole page."""
    sections = [
        f"## widedeep {command}".rstrip() + f"\n\n```text\n{_help(command)}```\n" for command in ("", *COMMANDS)
    ]
    return "\n".join([_HEAD, *sections])


def _help(command: str) -> str:
    """The help of a command, or the overview for an empty text, in 80 columns."""
    printed = io.StringIO()
    with mock.patch.dict(os.environ, {"COLUMNS": "80"}), contextlib.redirect_stdout(printed):
        dispatch([*filter(None, [command]), "--help"])
    return printed.getvalue()


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
