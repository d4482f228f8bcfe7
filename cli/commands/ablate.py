"""`widedeep ablate`: what each part of a recipe's model adds, as in the paper's Table 1, on one's own data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widedeep.api.recipes import load_recipe
from widedeep.figures import figure

from .. import without_collecting
from ..options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from ..recipe_argument import open_recipe
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.ablation import Ablation, Variant
    from widedeep.evaluation.comparison import Change


def ablate(
    recipe: RecipeArgument,
    seeds: Annotated[int, typer.Option("--seeds", min=1, metavar="N", help="Train N seeds of each.")] = 1,
    kinds: Annotated[
        str,
        typer.Option(
            "--kinds", metavar="A,B,…", help="Kinds of model (`model.kind`), the last the one to compare with."
        ),
    ] = "wide,deep,wide_deep",
    work: WorkOption = Path(),
    overrides: SetOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train wide, deep, wide & deep, with and without crosses, and compare."""
    from ..console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    given = tuple(overrides or ())
    open_recipe(recipe, given, reporter)  # its notes; those of the variants say what the kinds say already
    with without_collecting():
        from widedeep.comparison import ablation
        from widedeep.evaluation.verdict import holds_for, told, verdict_on_parts

    result = ablation.ablate(
        lambda more: load_recipe(recipe, set=[*given, *more]),
        kinds.split(","),
        work,
        reporter,
        seeds=seeds,
        wait=wait,
    )
    metric = next(iter(result.variants[-1].differences))
    *parts, whole = result.variants
    sentences = {
        "verdict": verdict_on_parts(metric, whole.name, {part.name: part.differences[metric] for part in parts}),
        "holds_for": holds_for(grouped=result.grouped, seeds=seeds),
    }
    if as_json:
        print_json(_as_object(result, metric) | sentences)
        return
    print_comparison([_cells(variant, result, metric) for variant in result.variants])
    added = [f"{_what_adds(kind)} to {kind}: {told(changes[metric])}" for kind, changes in result.added.items()]
    print_sentences(["", sentences["verdict"], *added, "", sentences["holds_for"], ""])
    facts = {f"{result.split} rows": f"{result.rows:,}", "seeds": str(seeds)}
    print_facts(facts | {variant.name: str(variant.result.runs[-1].run.parent) for variant in result.variants})


def _what_adds(kind: str) -> str:
    from widedeep.recipe.kinds import KINDS

    return "crosses add" if KINDS[kind].wide == "always" else "crosses, and the linear part that comes with them, add"


def _cells(variant: "Variant", result: "Ablation", metric: str) -> dict[str, str]:
    from widedeep.evaluation.formulas import metric_title
    from widedeep.evaluation.verdict import interval, signed

    change = variant.differences[metric]
    cells = {"model": variant.kind, "crosses": "yes" if variant.crosses else "no"}
    cells[metric_title(metric)] = _figure(variant, result.split, metric)
    cells["difference"] = "" if variant is result.variants[-1] else signed(change.value)
    cells["95% interval"] = "" if variant is result.variants[-1] else interval(change)
    if "log_loss" in variant.differences:
        cells[metric_title("log_loss")] = _figure(variant, result.split, "log_loss", deviation=False)
    return cells


def _figure(variant: "Variant", split: str, name: str, *, deviation: bool = True) -> str:
    summary = variant.result.summary[split].get(name)
    if summary is None:
        return figure(None)
    spread = f" ±{summary['deviation']:.4f}".replace("±0", "±") if deviation and len(variant.result.runs) > 1 else ""
    return f"{figure(summary['mean'])}{spread}"


def _as_object(result: "Ablation", metric: str) -> dict[str, Any]:
    return {
        "split": result.split,
        "rows": result.rows,
        "metric": metric,
        "variants": [_variant_object(variant, result.split) for variant in result.variants],
        "crosses_add": {kind: _change_objects(changes) for kind, changes in result.added.items()},
    }


def _variant_object(variant: "Variant", split: str) -> dict[str, Any]:
    several = len(variant.result.runs) > 1
    return {
        "kind": variant.kind,
        "crosses": variant.crosses,
        "metrics": {
            name: {"mean": summary["mean"], "deviation": summary["deviation"] if several else None}
            for name, summary in variant.result.summary[split].items()
        },
        "differences": _change_objects(variant.differences),
        "runs": [asdict(run) for run in variant.result.runs],
    }


def _change_objects(changes: Mapping[str, "Change"]) -> dict[str, dict[str, Any]]:
    from widedeep.evaluation.verdict import better

    shown: Sequence[str] = ("value", "low", "high")
    return {
        name: {end: getattr(change, end) for end in shown}
        | {"better": {"first": True, "second": False}.get(better(name, change) or "")}
        for name, change in changes.items()
    }
