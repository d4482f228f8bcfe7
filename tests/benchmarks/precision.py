"""Is a model worse that was trained with bfloat16 products? Every kind that has layers, each seed in both precisions:

    python tests/benchmarks/precision.py RESULT.json [SET …]

It prints the tables of results/precision.md: log loss and AUC on TEST rows, bfloat16 minus float32, paired by row and by
seed. WIDEDEEP_DATA says where the data sets lie; the planted logs are drawn here. Runs go to a folder that is deleted.
"""

import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from click_log import WIDEDEEP
from machine import machine_facts
from quality_figures import METRICS, TestRows

from widedeep.api.recipes import load_recipe as find_recipe
from widedeep.evaluation.comparison import change_over_seeds
from widedeep.files import write_json
from widedeep.pipeline.experiment import SeedsResult, train_seeds
from widedeep.reporting import Reporter

LAYERED = ("deep", "wide_deep", "deepfm", "dcn", "dcn_v2", "finalmlp", "finalnet")
PRECISIONS = ("float32", "bfloat16")
HEADER = """\
| set | kind | seeds | rows | float32: log loss | bfloat16 minus float32: log loss | by seed alone | float32: AUC | \
bfloat16 minus float32: AUC | by seed alone | worse |
|---|---|---|---|---|---|---|---|---|---|---|"""


@dataclass(frozen=True)
class LogSet:
    """One set's lines: a recipe (file or bundled name), what is overridden in it, how often each kind is trained."""

    recipe: str
    overrides: tuple[str, ...] = ()
    kinds: tuple[str, ...] = LAYERED
    seeds: int = 3
    synth: tuple[str, ...] | None = None
    """Options of `widedeep synth`, which draws the recipe and its log."""


@dataclass(frozen=True)
class Difference:
    """A metric's bfloat16 minus float32."""

    float32: list[float]
    """The metric in float32, by seed."""
    by_seed: list[float]
    value: float
    """Mean over the seeds."""
    low: float
    """Lower end of the 95% interval, which holds for other rows and other seeds."""
    high: float

    def is_worse(self, metric: str) -> bool:
        """Whether bfloat16 is worse beyond the interval."""
        return self.low > 0.0 if metric == "log_loss" else self.high < 0.0

    def cells(self) -> str:
        """The metric ± its deviation between seeds; the difference ± half the interval; its mean ± standard error."""
        whole = f"{statistics.fmean(self.float32):.4f} ± {statistics.stdev(self.float32):.4f}"
        error = statistics.stdev(self.by_seed) / math.sqrt(len(self.by_seed))
        half = (self.high - self.low) / 2
        return f"{whole} | {self.value:+.5f} ± {half:.5f} | ± {error:.5f}"


def main(result_path: Path, names: Sequence[str]) -> None:
    """Train every set in both precisions, write all figures, print the table."""
    result: dict[str, Any] = {"facts": machine_facts(), "sets": {}}
    print(HEADER, flush=True)
    for name in names or list(SETS):
        result["sets"][name] = {}
        with tempfile.TemporaryDirectory() as folder:
            recipe = _drawn(SETS[name], Path(folder))
            test = TestRows(Path(folder) / "work")
            for kind in SETS[name].kinds:
                trained = {precision: _train(SETS[name], recipe, kind, precision, test) for precision in PRECISIONS}
                differences = _differences(trained, test)
                result["sets"][name][kind] = {
                    **{metric: asdict(one) for metric, one in differences.items()},
                    "epochs_kept": {name: [run.best_epoch for run in runs.runs] for name, runs in trained.items()},
                }
                write_json(result_path, result)
                print(_line(name, kind, differences, test), flush=True)


def _drawn(log: LogSet, folder: Path) -> str:
    if log.synth is None:
        return log.recipe
    command = [WIDEDEEP, "synth", "-o", folder / "log", *log.synth]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return str(folder / "log" / log.recipe)


def _train(log: LogSet, recipe: str, kind: str, precision: str, test: TestRows) -> SeedsResult:
    overrides = [f"model.kind={kind}", f"training.precision={precision}", "training.threads=1", *log.overrides]
    if kind == "deepfm":
        overrides.append("model.embeddings.dim=8")
    loaded = find_recipe(recipe, set=[*overrides, f"name={kind}-{precision}"])
    return train_seeds(loaded, test.work, Reporter(), log.seeds)


def _differences(trained: dict[str, SeedsResult], test: TestRows) -> dict[str, Difference]:
    """Metric → its difference; influences are kept of one kind at a time."""
    float32, bfloat16 = (
        [test.estimates(test.scores(run.run)) for run in trained[precision].runs] for precision in PRECISIONS
    )
    differences = {}
    for metric in METRICS:
        pairs = [after[metric].minus(before[metric]) for before, after in zip(float32, bfloat16, strict=True)]
        change = change_over_seeds(pairs)
        values = [one[metric].value for one in float32]
        differences[metric] = Difference(values, [one.value for one in pairs], *change.interval)
    return differences


def _line(name: str, kind: str, differences: dict[str, Difference], test: TestRows) -> str:
    assert test.rows is not None
    log_loss, auc = differences["log_loss"], differences["auc"]
    worse = ", ".join(metric for metric, one in differences.items() if one.is_worse(metric)) or "no"
    seeds, rows = len(auc.by_seed), f"{len(test.rows.label):,}"
    return f"| {name} | {kind} | {seeds} | {rows} | {log_loss.cells()} | {auc.cells()} | {worse} |"


SETS = {
    "adult": LogSet("adult", ("training.epochs=4",)),
    "movielens-100k": LogSet("movielens-100k", ("training.epochs=3",)),
    # Without valid rows the last epoch is kept: which of them is, precisions do not always agree on.
    "movielens-100k, its third epoch": LogSet(
        "movielens-100k", ("training.epochs=3", "data.split.valid=0"), ("deep", "wide_deep")
    ),
    "planted log": LogSet("recipe.yaml", synth=("--rows", "60000")),
    "criteo's shape, one epoch": LogSet(
        "recipe.yaml",
        ("training.epochs=1",),
        ("wide_deep", "deep"),
        seeds=5,
        synth=("--shape", "criteo", "--rows", "300000"),
    ),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
