"""The `widedeep` command: its Typer app; the commands lie in `commands/`."""

import gc
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import widedeep
from widedeep.errors import UsageError

from .boundary import EXIT_CODES, guarded

if TYPE_CHECKING:
    from typer.core import TyperCommand

COMMANDS = {
    "init": "init",
    "synth": "synth",
    "ingest": "ingest",
    "crosses": "crosses",
    "train": "train",
    "eval": "evaluate",
    "compare": "compare",
    "ablate": "ablate",
    "sweep": "sweep",
    "backtest": "backtest",
    "split-check": "split_check",
    "report": "report",
    "track": "track",
    "predict": "predict",
    "latency": "latency",
    "export": "export",
    "promote": "promote",
    "runs": "runs",
    "clean": "clean",
    "show": "show",
    "recipes": "bundled",
    "check": "check",
    "schema": "schema",
}
"""Command → its module in `commands/`, and the function in it, in the order in which `--help` lists them."""

COMPLETION_VARIABLE = "_WIDEDEEP_COMPLETE"
"""The environment variable by which a shell asks for completion, in the form that Typer gives it."""

_OVERVIEW = """Wide & Deep click-through-rate experiments on tabular data.

A recipe (YAML) names the data, the fields, the crosses and the model. RECIPE is a file or the name of a bundled
recipe (quickstart, adult, frappe, criteo, movielens-1m, movielens-100k); RUN is a run directory, runs/RECIPE/serving or
latest, or a recipe, whose latest finished run is meant."""


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"widedeep {widedeep.__version__}")
        raise typer.Exit


def _print_completion(shell: str | None) -> None:
    if shell is not None:
        from .completion import script  # only here: a command does not complete

        typer.echo(script(shell))
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    show_completion: Annotated[
        Literal["bash", "zsh", "fish"] | None,
        typer.Option(
            "--show-completion",
            callback=_print_completion,
            is_eager=True,
            help="Print what lets this shell complete commands, options, recipes and runs, and leave.",
        ),
    ] = None,
) -> None:
    """Options that come before the command."""


_common.__doc__ = _OVERVIEW


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """The app with these commands, whose modules are imported now."""
    # The line with only a backspace keeps the formatter from joining the lines of a paragraph.
    app = typer.Typer(
        help=_OVERVIEW,
        epilog=f"\b\n{EXIT_CODES}",
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_common)
    for name in commands:
        module = import_module(f".commands.{COMMANDS[name]}", __package__)
        parser: type[TyperCommand] | None = getattr(module, "PARSER", None)
        app.command(name, cls=parser)(getattr(module, COMMANDS[name]))
    return app


def dispatch(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code. Raises UsageError for one that Typer refuses."""
    # A command need not wait for the modules of the others; only the overview and a mistyped name ask for all.
    asked = [name for name in arguments[:1] if name in COMMANDS]
    command = typer.main.get_command(build_app(asked or COMMANDS))
    try:
        # Not `command.main`: it would answer Ctrl-C and a broken pipe itself, before the boundary sees them.
        with command.make_context("widedeep", list(arguments) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as leave:
        return leave.exit_code
    except typer.TyperException as error:
        context_of_error = getattr(error, "ctx", None)
        where = context_of_error.command_path if context_of_error is not None else "widedeep"
        raise UsageError(f"{error.format_message().rstrip('.')}; see `{where} --help`") from error
    return 0


def spin_briefly() -> None:
    """Let threads of GNU OpenMP that wait for work leave the cores to others soon; torch reads it when it is imported.

    After an operation of torch they wait for the next one in a busy loop. By default that takes some milliseconds, in
    which our own kernels lack the cores.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def main() -> None:
    """Entry point of the console script."""
    spin_briefly()
    if sys.stdout is not None:
        # A column name that the terminal's encoding cannot show must not end a command whose work is done.
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = guarded(_run)
    # At its end Python searches all objects for garbage, torch's too, which takes a third of the time of its import.
    gc.freeze()
    sys.exit(code)


def _run() -> int:
    _check_platform()
    if instruction := os.environ.get(COMPLETION_VARIABLE):
        from .completion import answer  # only here, as above

        return answer(instruction, build_app, list(COMMANDS))
    return dispatch(sys.argv[1:])


def _check_platform() -> None:
    """Raise UsageError on Windows, which lacks the modules that lock the work directory and read the peak memory."""
    try:
        import fcntl  # noqa: F401
        import resource  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"widedeep runs on Linux and macOS, and this Python has no module {error.name}: on Windows, run it in WSL "
            "(Windows Subsystem for Linux)"
        ) from error
