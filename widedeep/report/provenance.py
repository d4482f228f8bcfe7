"""The sections that say where the figures come from: recipes and what differs between them, and the environment."""

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
    """What differs between the runs' recipes, and every recipe in full."""
    whole = [one.finished.recipe for one in report.runs]
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
    settings = dict.fromkeys(setting for one in differs for setting in one)
    if not settings:
        return Section("recipe", "Recipes", intro=["The recipes say the same."], folded=folded)
    table = Table(
        [text("setting"), *(run_cell(report, run) for run in range(len(whole)))],
        [[text(setting), *(text(one.get(setting, "–")) for one in differs)] for setting in settings],
        "… stands for entries of a list that all have; – where a recipe has no such setting, or no part that takes it.",
        title="What differs",
        stacks=True,
    )
    return Section("recipe", "Recipes", tables=[table], folded=folded)


def environment(report: RunReport) -> Section:
    """Versions, device, seed, commit, data: as they were saved with the runs."""
    facts: dict[str, Callable[[MeasuredRun], str]] = {
        "run": lambda one: str(one.finished.path),
        "command": lambda one: shlex.join(one.manifest.get("argv") or []),
        "started": lambda one: _text(one.manifest, "started"),
        "refit": lambda one: _refit(one.finished.refit),
        "trained in": lambda one: _training(one.finished.facts),
        "peak memory": lambda one: _memory(one.finished.facts.get("peak_memory_bytes")),
        "device": lambda one: f"{_text(one.manifest, 'device')}, {_text(one.manifest, 'threads')} threads",
        "seed": lambda one: _text(one.manifest, "seed"),
        "widedeep": lambda one: _text(one.manifest, "widedeep"),
        "Python": lambda one: _text(one.manifest, "python"),
        "libraries": lambda one: ", ".join(f"{lib} {v}" for lib, v in one.manifest.get("libraries", {}).items()),
        "git commit": lambda one: _text(one.manifest, "git_commit"),
        "rows": lambda one: ", ".join(
            f"{split} {rows:,}" for split, rows in one.finished.facts.get("rows", {}).items()
        ),
        "data fingerprint": lambda one: one.manifest["keys"]["ingest"],
        "encoded data": lambda one: one.manifest["keys"]["encoded"],
        "run key": lambda one: one.manifest["keys"]["run"],
    }
    rows = []
    if all(one.finished.refit is None for one in report.runs):
        del facts["refit"]
    for fact, tell in facts.items():
        told = [tell(one) for one in report.runs]
        # What all runs share is said once.
        cells = [text(one) for one in (told[:1] if len(set(told)) == 1 else told)]
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
