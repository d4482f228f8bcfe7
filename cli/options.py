"""Arguments and options that several commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from widedeep.errors import UsageError


def _recipes(incomplete: str) -> list[str]:
    from .completion import recipes  # only a shell that completes asks

    return recipes(incomplete)


def _runs(incomplete: str) -> list[str]:
    from .completion import runs  # only a shell that completes asks

    return runs(incomplete)


RecipeArgument = Annotated[
    str,
    typer.Argument(
        metavar="RECIPE",
        help="A recipe file, or the name of a bundled recipe.",
        show_default=False,
        autocompletion=_recipes,
    ),
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run directory, runs/RECIPE/serving or latest, or a recipe: its latest finished run.",
        show_default=False,
        autocompletion=_runs,
    ),
]
RunsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...",
        help="Runs, recipes (their latest run), or folders such as runs/RECIPE: all finished runs in them.",
        show_default=False,
        autocompletion=_runs,
    ),
]
WorkOption = Annotated[
    Path, typer.Option("--work", metavar="DIR", help="Where stages/ and runs/ lie.", file_okay=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PART.FIELD=VALUE", help="Change one setting of the recipe; may be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print exactly one JSON object.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait for another process that has what this needs.")]
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|URL",
        help="Share the work among N processes, or those of Dask (tcp://HOST:PORT) or Ray (ray, ray://HOST:PORT).",
    ),
]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="No progress, epochs and notes on stderr; warnings and errors still come.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Read side tables and data from where the run's recipe says, though another user or machine made the run.",
    ),
]
TableOption = Annotated[
    list[str] | None,
    typer.Option("--table", metavar="NAME=FILE", help="Where a side table of the recipe lies now; may be repeated."),
]


def side_table_files(options: Sequence[str] | None) -> dict[str, str]:
    """Side table → file, from the options `--table NAME=FILE`. Raises UsageError if one is malformed or given twice."""
    files: dict[str, str] = {}
    for option in options or ():
        name, equals, file = option.partition("=")
        if not (name and equals and file):
            raise UsageError(
                f"--table {option}: must be NAME=FILE, the side table's name in the recipe and where it lies"
            )
        if name in files:
            raise UsageError(f"--table {name}=…: given twice; a side table of several files is a directory or a glob")
        files[name] = file
    return files
