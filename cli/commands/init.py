"""`widedeep init`: a recipe for a table that nobody has described."""

from pathlib import Path
from typing import Annotated

import typer

from widedeep.api.recipes import schema_line

from ..options import ForceOption
from ..results import open_stdout


def init(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE…", help="The table: one file, or its parts.", show_default=False),
    ],
    label: Annotated[str, typer.Option("--label", metavar="COLUMN", help="The column to predict.", show_default=False)],
    valid: Annotated[
        list[str] | None,
        typer.Option("--valid", metavar="FILE", help="Rows to choose by, in files of their own; may be repeated."),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option("--test", metavar="FILE", help="Rows to report on, in files of their own; may be repeated."),
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="When a row happened: the last rows are held out.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="COLUMN", help="Rows that are ranked together, such as a session.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RECIPE", help="The recipe to write; default: stdout.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Look at a table and print a recipe for it, with a reason for every choice."""
    from widedeep.files import check_output, write_text

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    if output is not None:
        from widedeep.source.paths import refuse_as_output

        refuse_as_output(output, [*files, *(valid or ()), *(test or ())])
    target = None if output is None else check_output(output, force=force)
    reporter = ConsoleReporter()
    from widedeep.suggest.init import init_recipe

    folder = output.parent if output is not None else Path()
    name = output.stem if output is not None else None
    suggestion = init_recipe(
        files, label, valid=valid or (), test=test or (), time=time, group=group, recipe_folder=folder, name=name
    )
    for note in suggestion.notes:
        reporter.note(note)
    text = f"{schema_line()}\n{suggestion.text}"
    if target is None:
        open_stdout().write(text)
        return
    write_text(target, text)
    reporter.note(f"wrote {output}; train it with: widedeep train {output}")
