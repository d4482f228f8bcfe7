"""`widedeep ablate`: what each part of a recipe's model is good for, the paper's Table 1 on one's own data."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from widedeep.api.recipes import load_recipe
from widedeep.figures import figure

from .options import JsonOption, RecipeArgument, SetOption, WaitOption, WorkOption
from .results import print_facts, print_json, print_sentences

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
    from .console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    given = tuple(overrides or ())
    load_recipe(recipe, set=given, reporter=reporter)  # its notes; those of the variants say what the kinds say already
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
    print_comparison([_cells(one, result, metric) for one in result.variants])
    added = [f"{_what_adds(kind)} to {kind}: {told(changes[metric])}" for kind, changes in result.added.items()]
    print_sentences(["", sentences["verdict"], *added, "", sentences["holds_for"], ""])
    facts = {f"{result.split} rows": f"{result.rows:,}", "seeds": str(seeds)}
    print_facts(facts | {one.name: str(one.result.runs[-1].run.parent) for one in result.variants})


def _what_adds(kind: str) -> str:
    from widedeep.recipe.kinds import KINDS

    return "crosses add" if KINDS[kind].wide == "always" else "crosses, and the linear part that comes with them, add"


def _cells(one: "Variant", result: "Ablation", metric: str) -> dict[str, str]:
    from widedeep.evaluation.formulas import metric_title
    from widedeep.evaluation.verdict import interval, signed

    change = one.differences[metric]
    cells = {"model": one.kind, "crosses": "yes" if one.crosses else "no"}
    cells[metric_title(metric)] = _figure(one, result.split, metric)
    cells["difference"] = "" if one is result.variants[-1] else signed(change.value)
    cells["95% interval"] = "" if one is result.variants[-1] else interval(change)
    if "log_loss" in one.differences:
        cells[metric_title("log_loss")] = _figure(one, result.split, "log_loss", deviation=False)
    return cells


def _figure(one: "Variant", split: str, name: str, *, deviation: bool = True) -> str:
    found = one.result.summary[split].get(name)
    if found is None:
        return figure(None)
    spread = f" ±{found['deviation']:.4f}".replace("±0", "±") if deviation and len(one.result.runs) > 1 else ""
    return f"{figure(found['mean'])}{spread}"


def _as_object(result: "Ablation", metric: str) -> dict[str, Any]:
    return {
        "split": result.split,
        "rows": result.rows,
        "metric": metric,
        "variants": [_variant_object(one, result.split) for one in result.variants],
        "crosses_add": {kind: _change_objects(changes) for kind, changes in result.added.items()},
    }


def _variant_object(one: "Variant", split: str) -> dict[str, Any]:
    several = len(one.result.runs) > 1
    return {
        "kind": one.kind,
        "crosses": one.crosses,
        "metrics": {
            name: {"mean": found["mean"], "deviation": found["deviation"] if several else None}
            for name, found in one.result.summary[split].items()
        },
        "differences": _change_objects(one.differences),
        "runs": [asdict(run) for run in one.result.runs],
    }


def _change_objects(changes: Mapping[str, "Change"]) -> dict[str, dict[str, Any]]:
    from widedeep.evaluation.verdict import better

    shown: Sequence[str] = ("value", "low", "high")
    return {
        name: {end: getattr(change, end) for end in shown}
        | {"better": {"first": True, "second": False}.get(better(name, change) or "")}
        for name, change in changes.items()
    }
