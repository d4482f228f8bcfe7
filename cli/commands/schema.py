"""`widedeep schema`: what a recipe may hold, as a JSON Schema for editors and validators."""

from pathlib import Path
from typing import Annotated

import typer

from widedeep.api.recipes import schema_file, schema_line

from ..options import ForceOption
from ..results import open_stdout


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="The file to write; default: stdout.")
    ] = None,
    force: ForceOption = False,
) -> None:
    """Print the JSON Schema (draft 2020-12) of a recipe: every setting, its rules and what it means.

    Recipes of `init` begin with a line by which editors with yaml-language-server find the schema that is installed.
    For recipes that are shared, write it beside them with -o, and let their first line lead there.
    """
    text = schema_file().read_text(encoding="utf-8")
    if output is None:
        open_stdout().write(text)
        return
    from widedeep.files import check_output, write_text

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    write_text(check_output(output, force=force), text)
    ConsoleReporter().note(f"wrote {output}; a recipe beside it begins with: {schema_line(output.name)}")
