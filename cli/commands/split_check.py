"""`widedeep split-check`: which kind of model is best, asked of several ways of splitting the rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widedeep.api.recipes import load_recipe

from .. import without_collecting
from ..options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from ..recipe_argument import open_recipe
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.split_check import SplitCheck


def split_check(
    recipe: RecipeArgument,
    kinds: Annotated[
        str, typer.Option("--kinds", metavar="A,B,…", help="Kinds of model (`model.kind`) to rank.")
    ] = "wide,deep,wide_deep",
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="COLUMN", help="Whose values stay together; default: data.group, if any."),
    ] = None,
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Rank kinds of model under random, time and key splits, and tell which ranking to trust.

    Each kind is trained once for each split, unless that run is there already.
    """
    from ..console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    given = tuple(overrides or ())
    open_recipe(recipe, given, reporter)  # its notes
    with without_collecting():
        from widedeep.comparison.split_check import check_splits

    result = check_splits(
        lambda more: load_recipe(recipe, set=[*given, *more]), kinds.split(","), work, reporter, key=key, wait=wait
    )
    if as_json:
        print_json(result.to_json())
        return
    print_comparison(_rows(result))
    print_sentences(["", result.verdict, ""])
    named = {"random": "random", "time": "by time", "key": f"by {result.key}"}
    print_facts({named[r.way]: f"{r.told(result.metric)}, on {r.rows:,} rows" for r in result.rankings})


def _rows(result: "SplitCheck") -> list[dict[str, str]]:
    from widedeep.comparison.split_check import figure_of
    from widedeep.evaluation.formulas import metric_title

    title = metric_title(result.metric)
    by_kind: dict[str, dict[str, str]] = {}
    for ranking in sorted(result.rankings, key=lambda ranking: ranking.way != result.trust):
        for kind in ranking.kinds:
            by_kind.setdefault(kind.kind, {"model": kind.kind})
    for ranking in result.rankings:
        for kind in ranking.kinds:
            by_kind[kind.kind][f"{title}, {ranking.way}"] = figure_of(kind.metrics[result.metric])
    return list(by_kind.values())
