"""The sections about where the figures come from: the recipes, their differences, and the environment."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from widedeep.comparison.measured_runs import MeasuredRun, RunReport
from widedeep.figures import duration
from widedeep.recipe.differences import differing_settings, setting_texts
from widedeep.recipe.dump import dump_recipe
from widedeep.report.blocks import Cell, Folded, Section, Table, text
from widedeep.report.names import name, run_cell


def recipes(report: RunReport) -> Section:
    """The differences between the runs' recipes, and every recipe in full."""
    whole = [measured.finished.recipe for measured in report.runs]
    folded = [
        Folded(
            f"Recipe {name(report, run)}, all defaults written out",
            dump_recipe(recipe),
            run if len(whole) > 1 else None,
        )
        for run, recipe in enumerate(whole)
    ]
    if len(whole) == 1:
        return Section("recipe", "Recipe", folded=folded)
    differs = setting_texts(differing_settings(whole, without=("name",)))
    settings = dict.fromkeys(setting for settings_of_run in differs for setting in settings_of_run)
    if not settings:
        return Section("recipe", "Recipes", intro=["The recipes say the same."], folded=folded)
    table = Table(
        [text("setting"), *(run_cell(report, run) for run in range(len(whole)))],
        [
            [text(setting), *(text(settings_of_run.get(setting, "–")) for settings_of_run in differs)]
            for setting in settings
        ],
        "… stands for entries of a list that all have; – where a recipe has no such setting, or no part that takes it.",
        title="What differs",
        stacks=True,
    )
    return Section("recipe", "Recipes", tables=[table], folded=folded)


def environment(report: RunReport) -> Section:
    """Versions, device, seed, commit and data, as saved with the runs."""
    facts: dict[str, Callable[[MeasuredRun], str]] = {
        "run": lambda run: str(run.finished.path),
        "command": lambda run: shlex.join(run.manifest.get("argv") or []),
        "started": lambda run: _text(run.manifest, "started"),
        "refit": lambda run: _refit(run.finished.refit),
        "trained in": lambda run: _training(run.finished.facts),
        "peak memory": lambda run: _memory(run.finished.facts.get("peak_memory_bytes")),
        "device": lambda run: f"{_text(run.manifest, 'device')}, {_text(run.manifest, 'threads')} threads",
        "precision": lambda run: _text(run.manifest, "precision"),
        "seed": lambda run: _text(run.manifest, "seed"),
        "widedeep": lambda run: _text(run.manifest, "widedeep"),
        "Python": lambda run: _text(run.manifest, "python"),
        "libraries": lambda run: ", ".join(f"{lib} {v}" for lib, v in run.manifest.get("libraries", {}).items()),
        "git commit": lambda run: _text(run.manifest, "git_commit"),
        "rows": lambda run: ", ".join(
            f"{split} {rows:,}" for split, rows in run.finished.facts.get("rows", {}).items()
        ),
        "data fingerprint": lambda run: run.manifest["keys"]["ingest"],
        "encoded data": lambda run: run.manifest["keys"]["encoded"],
        "run key": lambda run: run.manifest["keys"]["run"],
    }
    rows = []
    if all(run.finished.refit is None for run in report.runs):
        del facts["refit"]
    for fact, tell in facts.items():
        told = [tell(run) for run in report.runs]
        # A fact that is the same for all runs is told once.
        cells = [text(fact_text) for fact_text in (told[:1] if len(set(told)) == 1 else told)]
        rows.append([text(fact), *cells])
    titles: list[Cell] = [text(""), *(run_cell(report, run) for run in range(len(report.runs)))]
    caption = "As saved with each run. Runs of one data fingerprint were trained on the same typed rows."
    return Section("environment", "Environment", tables=[Table(titles, rows, caption, stacks=True)])


def _text(manifest: Mapping[str, Any], fact: str) -> str:
    value = manifest.get(fact)
    return "not known" if value is None else str(value)


def _refit(refit: Mapping[str, Any] | None) -> str:
    if refit is None:
        return "no"
    return f"on {' + '.join(refit['splits'])} rows, for the {refit['epochs']} epochs that {refit['of']} chose"


def _training(facts: Mapping[str, Any]) -> str:
    return f"{duration(facts['seconds'])}, {facts['rows_per_second']:,.0f} rows/s, {facts['epochs']} epochs"


def _memory(size: int | None) -> str:
    return "not known" if size is None else f"{size / 1e9:.2f} GB"
