"""Which valid metric should choose the epoch? Each set trained under the old rule (auc) and the new one (log loss):

    python tests/benchmarks/stopping_rule.py RESULT.json [SET …]

It prints the table of results/stopping.md: AUC, log loss and calibration (mean score over the rate of positives) on TEST
rows. WIDEDEEP_DATA says where the data sets lie; runs go to a folder that is deleted. The rare logs are drawn here.
"""

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from click_log import WIDEDEEP
from machine import machine_facts

from widedeep.api.recipes import load_recipe as find_recipe
from widedeep.artefacts import read_json_artefact
from widedeep.files import write_json
from widedeep.pipeline.experiment import train_seeds
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory

RULES = ("auc", "log_loss")
"""The metric that chooses, the old one first."""
SHOWN = ("auc", "log_loss", "calibration")
RARE_RECIPE = """\
data:
  train: log.parquet
  label: click
  split: {kind: random, valid: 0.2083, test: 0.4}   # of 60,000 rows at a rate of 0.002: 25 positives in valid
features:
  categorical: [%s]
crosses:
  - [c0, c1]
model:
  deep: {hidden: [128, 64], dropout: 0.2}
training:
  epochs: 30
  batch_size: 2048
  wide: {learning_rate: 0.2}
  deep: {learning_rate: 0.001, embedding_l2: 0.001}
  early_stopping: {patience: 5}
"""


@dataclass(frozen=True)
class LogSet:
    """One table's line: a recipe (file or bundled name) and how often it is trained."""

    recipe: str
    seeds: int = 3
    logs: int = 1
    """Logs drawn; each is trained under all seeds."""
    draw: Callable[[Path, int], None] | None = None
    """Writes the recipe and the data of a log's number into a folder, from which it is then read."""


def main(result_path: Path, names: Sequence[str]) -> None:
    """Train every set under both rules, write all figures, print the table."""
    chosen = names or list(SETS)
    result: dict[str, Any] = {"facts": machine_facts(), "sets": {}}
    print(HEADER, flush=True)
    for name in chosen:
        measured: dict[str, Any] = {rule: [] for rule in RULES}
        for number in range(SETS[name].logs):
            with tempfile.TemporaryDirectory() as folder:
                for rule, runs in _measure(SETS[name], Path(folder), number).items():
                    measured[rule] += runs
        result["sets"][name] = measured
        write_json(result_path, result)
        for line in _lines(name, measured):
            print(line, flush=True)


def _measure(log: LogSet, folder: Path, number: int) -> dict[str, list[dict[str, Any]]]:
    recipe = log.recipe
    if log.draw is not None:
        log.draw(folder, number)
        recipe = str(folder / log.recipe)
    measured = {}
    for rule in RULES:
        settings = [f"training.early_stopping.metric={rule}", f"name={rule}"]
        runs = train_seeds(find_recipe(recipe, set=settings), folder / "work", Reporter(), log.seeds).runs
        measured[rule] = [_facts(RunDirectory(run.run)) for run in runs]
    return measured


def _facts(run: RunDirectory) -> dict[str, Any]:
    facts = read_json_artefact(run.metrics_path, "the run is damaged")
    metrics = facts["metrics"]
    return {
        **{name: metrics["test"][name] for name in SHOWN},
        "valid_positives": round(metrics["valid"]["positives"] * metrics["valid"]["rows"]),
        **{name: facts[name] for name in ("rows", "best_epoch", "epochs", "seconds")},
    }


HEADER = "| set | chosen by | epoch kept | AUC | log loss | calibration |\n|---|---|---|---|---|---|"


def _lines(name: str, measured: dict[str, Any]) -> list[str]:
    lines = []
    for rule in RULES:
        kept = ", ".join(str(run["best_epoch"]) for run in measured[rule])
        figures = " | ".join(_figure([run[shown] for run in measured[rule]]) for shown in SHOWN)
        lines.append(f"| {name} | {rule} | {kept} | {figures} |")
    old, new = (measured[rule] for rule in RULES)
    if len(old) > 1:
        paired = (_figure([one[shown] - other[shown] for one, other in zip(new, old, strict=True)]) for shown in SHOWN)
        lines.append(f"| {name} | difference | | {' | '.join(paired)} |")
    return lines


def _figure(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def draw_rare_log(folder: Path, number: int, *, rate: float, rows: int) -> None:
    """A log of `rows` rows, 12 categorical columns whose values have lifts of their own, and a recipe for it."""
    draw = np.random.default_rng(number)
    sizes = [8, 12, 20, 30, 50, 80, 120, 200, 300, 500, 800, 1500]
    columns, lift = {}, np.zeros(rows)
    for number, size in enumerate(sizes):
        share = 1.0 / np.arange(1, size + 1)
        values = draw.choice(size, size=rows, p=share / share.sum())
        lift += draw.normal(0.0, 0.35, size)[values]
        columns[f"c{number}"] = [f"v{value}" for value in values]
    logit = np.log(rate / (1.0 - rate)) + lift - np.log(np.exp(lift).mean())
    clicks = (draw.random(rows) < 1.0 / (1.0 + np.exp(-logit))).astype(np.int8)
    pl.DataFrame({**columns, "click": clicks}).write_parquet(folder / "log.parquet")
    (folder / "rare.yaml").write_text(RARE_RECIPE % ", ".join(columns))


def draw_sample_log(folder: Path, number: int) -> None:
    """The sample log of `widedeep synth`, 20,000 rows."""
    command = [WIDEDEEP, "synth", "-o", folder, "--rows", "20000", "--seed", str(number + 1)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


SETS = {
    "five rare logs, 0.5%": LogSet("rare.yaml", 1, 5, partial(draw_rare_log, rate=0.005, rows=60_000)),
    "five rare logs, 0.2%": LogSet("rare.yaml", 1, 5, partial(draw_rare_log, rate=0.002, rows=60_000)),
    "another rare log, 0.5%": LogSet("rare.yaml", draw=lambda to, _: draw_rare_log(to, 7, rate=0.005, rows=60_000)),
    "another rare log, 0.2%": LogSet("rare.yaml", draw=lambda to, _: draw_rare_log(to, 7, rate=0.002, rows=60_000)),
    "adult": LogSet("adult"),
    "sample log": LogSet("recipe.yaml", draw=draw_sample_log),
    "criteo sample": LogSet("criteo"),
    "movielens-100k": LogSet("movielens-100k"),
    "frappe": LogSet("frappe", seeds=1),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
