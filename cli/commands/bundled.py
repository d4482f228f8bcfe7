"""`widedeep recipes`: the recipes that come with widedeep, one of them, or a copy of it to change."""

from pathlib import Path
from typing import Annotated

import typer

from widedeep.api.recipes import bundled_facts, bundled_recipe, with_schema_line
from widedeep.errors import UsageError

from ..options import ForceOption, JsonOption
from ..recipe_argument import data_guide
from ..results import open_stdout, print_json, print_sentences


def bundled(
    show: Annotated[str | None, typer.Option("--show", metavar="NAME", help="Print this recipe.")] = None,
    copy: Annotated[
        str | None, typer.Option("--copy", metavar="NAME", help="Write this recipe to NAME.yaml here, to change it.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the recipes that come with widedeep, and whether their data are where you are; print or copy one."""
    if (show is not None and copy is not None) or (as_json and (show or copy) is not None):
        raise UsageError("--show prints a recipe, --copy writes one, and --json lists them: give one of the three")
    if show is not None:
        open_stdout().write(bundled_recipe(show).read_text(encoding="utf-8"))
        return
    if copy is not None:
        _copy(copy, force)
        return
    listed = bundled_facts()
    if as_json:
        print_json({"recipes": listed, "guide": data_guide()})
        return
    there = {True: "its data are here", False: "its data are not here"}
    print_sentences(
        [f"{recipe['name']}: {recipe['about']} ({recipe['model']}; {there[recipe['data_here']]})" for recipe in listed]
    )
    open_stdout().write(f"\n{data_guide()} says where to get the data.\n")


def _copy(name: str, force: bool) -> None:
    from widedeep.files import check_output, write_text

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    target = check_output(Path(f"{name}.yaml"), force=force)
    write_text(target, with_schema_line(bundled_recipe(name).read_text(encoding="utf-8")))
    ConsoleReporter().note(f"wrote {name}.yaml; train it with: widedeep train {name}.yaml")
