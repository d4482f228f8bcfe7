"""`widedeep crosses`: reports on crosses and collisions, finds crosses, shows the weights of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from widedeep.errors import UsageError

from ..options import JsonOption, SetOption, TrustOption, WaitOption, WorkersOption, WorkOption
from ..recipe_argument import open_recipe
from ..results import print_facts, print_json
from .discover import discover
from .weights import DEFAULT_TOP, show_weights


def crosses(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE|RUN",
            help="A recipe file, or the name of a bundled recipe; with --weights a run, or a recipe whose latest "
            "finished run is meant.",
            show_default=False,
        ),
    ],
    work: WorkOption = Path(),
    overrides: SetOption = None,
    weights: Annotated[
        bool,
        typer.Option(
            "--weights", help="The wide weights of largest magnitude in a RUN: their real values, support and lift."
        ),
    ] = False,
    top: Annotated[
        int | None,
        typer.Option("--top", min=1, metavar="N", help=f"With --weights: show so many (default {DEFAULT_TOP})."),
    ] = None,
    min_support: Annotated[
        int | None,
        typer.Option(
            "--min-support",
            min=1,
            metavar="N",
            help="With --weights: leave out those that fewer train rows hold (default a thousandth of the train rows, "
            "at least 10, at most 100).",
        ),
    ] = None,
    find: Annotated[
        bool, typer.Option("--discover", help="Find crosses of the recipe's fields, and prove what they gain.")
    ] = False,
    on: Annotated[
        str | None,
        typer.Option(
            "--on", metavar="RUN", help="With --discover: the gain on top of what this run, of the same rows, knows."
        ),
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option("--budget", min=1.0, metavar="SECONDS", help="With --discover: stop then, with a partial result."),
    ] = None,
    fdr: Annotated[
        float | None,
        typer.Option(
            "--fdr",
            metavar="RATE",
            help="With --discover: the false discovery rate that is held (default 0.05).",
        ),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="NEW.yaml", help="With --discover: the recipe with the crosses added."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="With --write: replace a file that exists, write though nothing was found.")
    ] = False,
    trust: TrustOption = False,
    workers: WorkersOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fit the features, encode every row, and report on each cross and on the collisions of what is hashed.

    With --discover, find crosses: chosen on one part of the train rows, proved on another. With --weights, show what a
    finished run has learnt of values and crosses.
    """
    of_discovery = {"--on": on, "--budget": budget, "--fdr": fdr, "--write": write, "--force": force or None}
    of_weights = {"--top": top, "--min-support": min_support}
    if find and weights:
        raise UsageError("--discover reads a recipe, --weights a finished run: leave one of them out")
    if not find:
        _refuse(of_discovery, "belongs to --discover: add that, or leave it out")
    if not weights:
        _refuse(of_weights, "says which weights to show: add --weights, or leave it out")
    if trust and not weights and on is None:
        raise UsageError("--trust says that a run is trusted: name one with --weights or --on, or leave it out")
    if workers is not None and weights:
        raise UsageError("--workers shares work on the rows of a recipe: leave out --weights")
    if find:
        discover(
            recipe,
            work,
            overrides,
            on=on,
            budget=budget,
            fdr=fdr,
            write=write,
            force=force,
            trust=trust,
            workers=workers,
            wait=wait,
            as_json=as_json,
        )
    elif weights:
        if overrides:
            raise UsageError(
                f"--set {overrides[0]}: changes a recipe, and --weights reads a finished run: leave one of them out"
            )
        show_weights(recipe, work, top=top, min_support=min_support, trust=trust, wait=wait, as_json=as_json)
    else:
        _report(recipe, work, overrides, workers, wait=wait, as_json=as_json)


def _refuse(options: Mapping[str, object], rule: str) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option}: {rule}")


def _report(
    recipe: str, work: Path, overrides: Sequence[str] | None, workers: str | None, *, wait: bool, as_json: bool
) -> None:
    # Not at the top: `--help` should not wait for Rich.
    from ..console import ConsoleReporter, print_collisions, print_crosses

    reporter = ConsoleReporter()
    loaded = open_recipe(recipe, overrides, reporter)
    from widedeep.pipeline.collisions import build_crosses_and_report  # only now: a faulty recipe need not wait for it

    result, collisions = build_crosses_and_report(loaded, work, reporter, wait=wait, workers=workers)
    if as_json:
        facts = {"crosses": result.crosses, "collisions": collisions}
        print_json({**facts, "path": result.path, "cached": result.cached})
        return
    print_crosses(result.crosses)
    if collisions:
        print_collisions(collisions, apart=bool(result.crosses))
    print_facts({"path": str(result.path), "cached": "yes" if result.cached else "no"})
