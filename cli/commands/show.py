"""`widedeep show`: what a run is, on one screen."""

import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widedeep.api.runs import open_run
from widedeep.figures import age, duration, figure, size

from ..options import JsonOption, RunArgument, WorkOption
from ..recipe_facts import crosses_told, fields_told
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.api.runs import Run

_METRICS = ("auc", "log_loss", "rmse", "mae", "gauc", "calibration")
"""The metrics that are shown, of those that the run has."""
_SHOWN_WARNINGS = 2


def show(run: RunArgument, work: WorkOption = Path(), as_json: JsonOption = False) -> None:
    """Tell what a run is: its model, its rows, its figures, when and how it was made. Nothing is scored."""
    opened = open_run(run, work_dir=work)
    summary = opened.summary()
    if as_json:
        print_json(summary)
        return
    print_facts(_facts(opened, summary["links"], summary["bytes"]))
    shown = opened.warnings[:_SHOWN_WARNINGS]
    more = len(opened.warnings) - len(shown)
    print_sentences(
        [*(f"warning: {warning}" for warning in shown), *([f"and {more} more: --json has all"] if more else [])]
    )


def _facts(run: "Run", links: Sequence[str], num_bytes: int) -> dict[str, str | Sequence[str]]:
    recipe, facts, manifest = run.recipe, run.facts, run.manifest
    label, split = recipe.data.label, recipe.data.split
    rows = [f"{rows:,} {name}" for name, rows in facts.get("rows", {}).items()]
    how = "files of their own" if split is None else f"split: {split.kind}"
    return {
        "run": run.path.name + (f" ({', '.join(links)})" if links else ""),
        "recipe": f"{recipe.name}: {recipe.model.kind}, {label.kind} label {label.column}",
        "rows": [*rows, how],
        "fields": fields_told(recipe),
        "crosses": crosses_told(recipe),
        **{
            name: _metrics_told(metrics, facts.get("errors", {}).get(name, {})) for name, metrics in run.metrics.items()
        },
        "epochs": f"best {facts['best_epoch']} of {facts['epochs']}" + _because(facts.get("stopped")),
        "parameters": f"{facts['parameters']:,}",
        "training": f"{duration(facts['seconds'])}, {facts['rows_per_second']:,.0f} rows/s",
        "on": [str(manifest[name]) for name in ("device", "precision") if name in manifest]
        + [f"{number} thread{'s' * (number != 1)}" for number in (manifest.get("threads"),) if number is not None]
        + [f"seed {recipe.seed}"],
        **_origin(manifest),
        "made": [*_moment(manifest), f"widedeep {manifest.get('widedeep', 'of an unknown version')}"],
        **({"command": shlex.join(["widedeep", *manifest["argv"][1:]])} if manifest.get("argv") else {}),
        "size": size(num_bytes),
        "in": str(run.path.parent),
    }


def _because(stopped: str | None) -> str:
    return "" if stopped is None else f"; {stopped}"


def _metrics_told(metrics: Mapping[str, float | None], errors: Mapping[str, float]) -> list[str]:
    from widedeep.evaluation.formulas import metric_title  # not at the top: `--help` should not wait for NumPy

    told = []
    for name in _METRICS:
        if metrics.get(name) is not None:
            error = f" ±{1.96 * errors[name]:.2g}" if name in errors else ""
            told.append(f"{metric_title(name)} {figure(metrics[name])}{error}")
    return told


def _origin(manifest: Mapping[str, Any]) -> dict[str, str]:
    origin = {}
    if manifest.get("from"):
        origin["went on from"] = str(manifest["from"]["run"])
    if manifest.get("refit"):
        refit = manifest["refit"]
        origin["refit"] = f"on {' + '.join(refit['splits'])} rows, as {refit['of']} chose"
    return origin


def _moment(manifest: Mapping[str, Any]) -> list[str]:
    try:
        began = datetime.fromisoformat(manifest["started"])
    except (KeyError, TypeError, ValueError):
        return []
    began = began if began.tzinfo else began.replace(tzinfo=UTC)
    return [f"{began:%Y-%m-%d %H:%M %Z}", f"{age((datetime.now(UTC) - began).total_seconds())} ago"]
