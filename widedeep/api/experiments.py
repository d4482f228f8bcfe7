"""Trains, discovers and compares, as the commands do."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from widedeep.api.recipes import RecipeSource, load_recipe
from widedeep.api.runs import Run, run_path
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory

if TYPE_CHECKING:
    import polars as pl

    from widedeep.comparison.backtest import Backtest
    from widedeep.comparison.run_table import TableLine
    from widedeep.discovery.discover import Discovery


def train(
    recipe: RecipeSource,
    *,
    work_dir: str | os.PathLike[str] = ".",
    resume: bool = False,
    again: bool = False,
    refit: Literal["valid", "all"] | None = None,
    goes_on_from: Run | str | os.PathLike[str] | None = None,
    processes: int = 1,
    wait: bool = False,
    reporter: Reporter | None = None,
) -> Run:
    """Run every stage that is missing, train the recipe's model and measure it, as `widedeep train`.

    `recipe` is anything that `load_recipe` takes. Stages and runs are in `work_dir`. If the same training is finished
    already, its run is returned as it is, unless `again`. With `resume`, an unfinished run of exactly this recipe goes
    on. With `refit`, the result is a run trained
    on the valid rows too ("all": test rows too), for as many epochs as were best in the recipe's finished run. If the
    work directory is in use, that is an error, unless `wait`. With `goes_on_from`, the weights, optimizers and
    vocabularies of that run go on learning from the recipe's rows, as with `--from`. With `processes`, so many of this
    machine train, at most as many as the recipe's `training.parts`.

    Raises UsageError and RecipeError (the recipe), DataError and ColumnError (its files), ArtefactError (the work
    directory is in use, or damaged), TrainingError (the loss is not finite, or a process has ended), WriteError;
    Interrupted after Ctrl-C, which leaves a checkpoint to resume from.

    >>> run = train("sample/recipe.yaml", resume=True)
    >>> run.recipe.name, run.epochs.height
    ('sample', 4)
    """
    reporter = reporter or Reporter()
    loaded = load_recipe(recipe, reporter=reporter)
    from widedeep.pipeline import experiment  # only now: a faulty recipe need not wait for torch
    from widedeep.pipeline.crew import crew_of

    before = None if goes_on_from is None else run_paths([goes_on_from], Path(work_dir))[0]
    asked = experiment.Asked(
        resume=resume, again=again, refit=refit, goes_on_from=before, wait=wait, crew=crew_of(processes)
    )
    return Run(experiment.train(loaded, Path(work_dir), reporter, asked).run, work_dir=work_dir)


def discover(
    recipe: RecipeSource,
    *,
    on: Run | str | os.PathLike[str] | None = None,
    budget: float | None = None,
    fdr: float = 0.05,
    work_dir: str | os.PathLike[str] = ".",
    wait: bool = False,
    reporter: Reporter | None = None,
) -> "Discovery":
    """Find crosses of the recipe's fields in its train rows, as `widedeep crosses --discover`.

    Crosses are chosen on one part of the rows and proved on another. `on` is a run of the same rows: crosses must then
    improve on its scores. `budget` is in seconds, None for no limit. `fdr` is the bound on the false discovery rate, in
    (0, 1). The result's `crosses` are ready for a recipe.

    Raises UsageError if fewer than two fields may be crossed, and for settings out of their range; else what `train`
    raises.

    >>> recipe = load_recipe("sample/recipe.yaml", set=["crosses=[]"])
    >>> found = discover(recipe)
    >>> recipe.with_crosses(found.crosses).recipe.crosses == found.crosses
    True
    """
    reporter = reporter or Reporter()
    loaded = load_recipe(recipe, reporter=reporter)
    known = None if on is None else on.directory if isinstance(on, Run) else RunDirectory(run_path(on, Path(work_dir)))
    from widedeep.pipeline.discovery import discover_crosses  # only now: a faulty recipe need not wait for it

    return discover_crosses(loaded, Path(work_dir), reporter, on=known, budget=budget, fdr=fdr, wait=wait)


def backtest(
    recipe: RecipeSource,
    *,
    step: str | float = "1d",
    ways: Sequence[Literal["frozen", "cold", "warm"]] = ("frozen", "cold", "warm"),
    days: int | None = None,
    work_dir: str | os.PathLike[str] = ".",
    wait: bool = False,
    reporter: Reporter | None = None,
) -> "Backtest":
    """Train up to a step of time, score the next, and go on, as `widedeep backtest`; ways of doing so side by side.

    `recipe` is anything that `load_recipe` takes. `step` is a length such as 1d, 12h, 30m or 1w, or a number in the
    unit of `data.time`. `days` is the number of last steps to score; by default all but the first. The result's
    `frame()` has a row for each step and way, `overall` and `differences` are of all steps together.

    Raises UsageError for a recipe without `data.time` and for steps that do not fit its rows; else what `train` raises.

    >>> result = backtest("sample/recipe.yaml", step="1w", ways=["frozen", "warm"], days=1)
    >>> result.frame()["way"].to_list()
    ['frozen', 'warm']
    """
    reporter = reporter or Reporter()
    loaded = load_recipe(recipe, reporter=reporter)
    from widedeep.comparison import backtest as module  # only now: a faulty recipe need not wait for torch

    return module.backtest(loaded, Path(work_dir), reporter, step=step, ways=ways, days=days, wait=wait)


def compare(
    runs: Sequence[Run | str | os.PathLike[str]],
    *,
    split: Literal["valid", "test"] | None = None,
    work_dir: str | os.PathLike[str] = ".",
    reporter: Reporter | None = None,
) -> "pl.DataFrame":
    """Compare runs in a table, best first, as `widedeep compare`; all seeds of a recipe are one row.

    `runs` are runs, anything that `open_run` takes, or folders of runs such as `runs/<recipe>`. `split` is the split of
    the metrics; the default is test if all runs have it, else valid. `reporter` is told if rows differ between runs.

    Columns: `name`, `differs` (the settings that differ between recipes, as text), `seeds`, `split`; each metric as its
    mean over the seeds, with `…_deviation` (between seeds; null for one seed) and, if known, `…_low` and `…_high` (95%
    interval for rows drawn anew); `parameters`, `rows_per_second`, `seconds`, `warnings` and `paths` (lists).

    Raises ArtefactError for a run that does not load, UsageError if runs cannot be in one table.

    >>> table = compare(["runs/sample/latest"])
    >>> table.select("name", "seeds", "split").rows()
    [('sample', [0], 'test')]
    """
    import polars as pl

    from widedeep.comparison.run_table import run_table
    from widedeep.recipe.differences import setting_texts

    lines, chosen = run_table(run_paths(runs, Path(work_dir)), split, reporter or Reporter())
    differs = setting_texts([line.differs for line in lines])
    texts = ["; ".join(f"{name}={value}" for name, value in different.items()) for different in differs]
    rows = [_row(line, text, chosen) for line, text in zip(lines, texts, strict=True)]
    # All rows are looked at for the schema, because a column may be in a later row only.
    return pl.DataFrame(rows, schema_overrides={"warnings": pl.List(pl.String)}, infer_schema_length=None)


def run_paths(runs: Sequence[Run | str | os.PathLike[str]], work_dir: Path) -> list[Path]:
    """The directories of `runs`, see `compare`; for a folder of runs, those of all finished runs in it.

    Raises ArtefactError if there is no such run.
    """
    from widedeep.comparison.run_table import runs_in

    paths: list[Path] = []
    for run in runs:
        if isinstance(run, Run):
            paths.append(run.path)
        else:
            paths += runs_in(os.fspath(run), work_dir) or [run_path(run, work_dir)]
    return paths


def _row(line: "TableLine", differs: str, split: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": line.name, "differs": differs}
    row |= {"seeds": [run.recipe.seed for run in line.runs], "split": split}
    for name, metric in line.metrics.items():
        row |= {name: metric.mean, f"{name}_deviation": metric.deviation}
        if metric.rows is not None:
            row |= {f"{name}_low": metric.rows.low, f"{name}_high": metric.rows.high}
    row |= {name: line.mean_of(name) for name in ("parameters", "rows_per_second", "seconds")}
    row["warnings"] = [warning["message"] for alike in line.warnings.values() for warning in alike]
    return row | {"paths": [str(run.path) for run in line.runs]}
