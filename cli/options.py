"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

RecipeArgument = Annotated[
    str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a bundled recipe.", show_default=False)
]
RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run directory, runs/RECIPE/latest, or a recipe: its latest finished run.",
        show_default=False,
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
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait while another process uses the work directory.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an output that exists.")]
