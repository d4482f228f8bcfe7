"""Progressive validation: train up to a step of time, score the next, go on; ways of doing so, side by side."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.errors import DataError, UsageError
from widedeep.evaluation.comparison import Change, Estimate, LabelledRows, estimates
from widedeep.evaluation.formulas import metric_direction
from widedeep.evaluation.ratios import ratio_estimates
from widedeep.features.targets import GROUP_COLUMN, LABEL_COLUMN, WEIGHT_COLUMN
from widedeep.files import write_json
from widedeep.pipeline.experiment import Asked, TrainResult, train
from widedeep.pipeline.keys import key_of
from widedeep.pipeline.steps import Step, steps_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.data import RandomSplit
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import DataSettings, FormatSettings, KeySplit
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import score_labelled
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scorer import Scorer

Way = Literal["frozen", "cold", "warm"]
WAYS: tuple[Way, ...] = ("frozen", "cold", "warm")
"""`frozen`: the first model scores all steps. `cold`: before each step a fresh model is trained on all rows so far.
`warm`: the model goes on from that of the step before, on the rows that no model has been trained on yet."""
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
SCORED_FORMAT = 1
"""Raised when scores are stored in another way, so that no older ones are read."""
DEFAULT_SHARE = 0.1
"""Share of valid rows, where the recipe's split names none."""
_SCORE = "score"
_SHOWN = {"binary": ("log_loss", "auc", "calibration"), "regression": ("rmse", "mae")}


@dataclass(frozen=True)
class ScoredStep:
    """A step that was scored by each way before it was trained on."""

    start: float
    rows: int
    mean: float
    """Mean of the label."""
    figures: dict[Way, dict[str, Change]]
    """Way → metric → its value and error."""


@dataclass(frozen=True)
class Backtest:
    """Steps scored one after the other."""

    steps: list[ScoredStep]
    metrics: tuple[str, ...]
    overall: dict[Way, dict[str, Change]]
    """Of the rows of all steps together."""
    differences: dict[tuple[Way, Way], dict[str, Change]]
    """First minus second way, paired by row, for the rows of all steps together."""
    seconds: dict[Way, float]
    """What all trainings of a way took, that of the first model included."""
    first_rows: int
    """Rows that the first model was trained on."""
    grouped: bool
    unlearnt: int
    """Steps whose rows could not be trained on alone, such as those of a single class: they waited for others."""
    in_seconds: bool
    """Whether the length of a step was given in days or the like, so that steps start at dates and times."""

    def step_name(self, scored: ScoredStep) -> str:
        """When the step starts: a date (UTC), with a time unless it is midnight; else a number."""
        try:
            moment = datetime.fromtimestamp(scored.start, UTC) if self.in_seconds else None
        except (ValueError, OverflowError, OSError):  # a time that is a bare number, in another unit
            moment = None
        if moment is None:
            return f"{scored.start:.15g}"
        return f"{moment:%Y-%m-%d}" if moment.hour == moment.minute == 0 else f"{moment:%Y-%m-%d %H:%M}"

    def frame(self) -> pl.DataFrame:
        """A row for each step and way: `step`, `start`, `rows`, `label_mean`, `way`; metrics, with `_low` and `_high`.

        Metrics and the ends of their 95% intervals are null where a step cannot tell them.
        """
        rows = []
        for scored in self.steps:
            facts = {
                "step": self.step_name(scored),
                "start": scored.start,
                "rows": scored.rows,
                "label_mean": scored.mean,
            }
            for way, changes in scored.figures.items():
                figures: dict[str, float | None] = {}
                for name in self.metrics:
                    ends = changes[name].interval if name in changes else (None, None, None)
                    figures |= dict(zip((name, f"{name}_low", f"{name}_high"), ends, strict=True))
                rows.append({**facts, "way": way, **figures})
        return pl.DataFrame(rows, infer_schema_length=None)


def backtest(
    loaded: LoadedRecipe,
    work_dir: Path,
    reporter: Reporter,
    *,
    step: str | float,
    ways: Sequence[Way] = WAYS,
    days: int | None = None,
    wait: bool = False,
) -> Backtest:
    """Train up to a step, score the next, and so on over the recipe's rows, by steps of length `step`.

    A length is a text such as 1d, 12h, 30m or 1w, or a number in the unit of `data.time`.
    `days` is the number of last steps to score; by default all but the first. All ways begin with the same model, of
    the rows before. Valid rows, which choose the epoch, are drawn at random from the rows that a model is trained on.
    Runs, stages and scores are kept: what is finished is not done again. Raises UsageError and RecipeError for the
    recipe, else what `train` raises.
    """
    workspace = Workspace(work_dir)
    length, in_seconds = _length(step)
    with workspace.shared(reporter, wait=wait):  # to its end: what it goes on from is not to be cleaned away meanwhile
        steps = steps_stage(loaded, length, workspace, reporter)
        if days is not None and days >= len(steps):
            raise UsageError(f"--days {days}: the rows fill {len(steps)} steps, and the first model needs at least one")
        first = 1 if days is None else len(steps) - days
        table = _Table(loaded, workspace, reporter, wait)
        scored: dict[Way, list[pl.DataFrame]] = {way: [] for way in ways}
        with reporter.work("backtest", (len(steps) - first) * len(ways), "steps") as meter:
            for number, way in enumerate(ways):
                for done, frame in enumerate(table.scored(way, steps, first)):
                    scored[way].append(frame)
                    meter.update(number * (len(steps) - first) + done + 1)
        return _measured(loaded, steps, first, scored, table, in_seconds)


def _length(step: str | float) -> tuple[float, bool]:
    """The length of a step, and whether it is in seconds whatever `data.time` is."""
    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([mhdw]?)", step) if isinstance(step, str) else (step, step, "")
    length = float(parts[1]) * _SECONDS.get(parts[2], 1.0) if parts else 0.0
    if not 0.0 < length < math.inf:
        raise UsageError(f"--step {step}: must be a length above 0 such as 1d, 12h, 30m, 1w, or a number")
    return length, bool(parts and parts[2])


class _Table:
    """Trains and scores step after step, and counts what it took."""

    def __init__(self, loaded: LoadedRecipe, workspace: Workspace, reporter: Reporter, wait: bool) -> None:
        self._loaded, self._workspace, self._reporter, self._wait = loaded, workspace, reporter, wait
        self.seconds: dict[Way, float] = {}
        self.unlearnt: set[float] = set()

    def scored(self, way: Way, steps: Sequence[Step], first: int) -> Iterator[pl.DataFrame]:
        """For each step from number `first` on, its targets and scores, before the way's model learns of it."""
        result = self._train(steps[:first], None)
        self.seconds[way] = result.seconds
        run, learnt_steps = result.run, first
        for number in range(first, len(steps)):
            yield self._score(run, steps[number])
            if way == "frozen" or number == len(steps) - 1:
                continue
            # Rows that could not be trained on wait for the next ones: those without a click are no fewer for it.
            new, before = (steps[: number + 1], None) if way == "cold" else (steps[learnt_steps : number + 1], run)
            try:
                learnt = self._train(new, before)
            except DataError as error:
                self.unlearnt.add(steps[number].start)
                self._reporter.note(f"{way}, step {number + 1}: its rows wait for the next step's, {error}")
                continue
            self.seconds[way] += learnt.seconds
            run, learnt_steps = learnt.run, number + 1

    def _train(self, steps: Sequence[Step], before: Path | None) -> TrainResult:
        recipe = self._loaded.recipe
        files = tuple(str(file.resolve()) for step in steps for file in step.files)
        changed = recipe.model_copy(update={"name": f"{recipe.name}-backtest", "data": _data(recipe.data, files)})
        loaded = replace(self._loaded, recipe=changed, path=None)
        asked = Asked(resume=True, goes_on_from=before, wait=self._wait)
        return train(loaded, self._workspace.path, Reporter(), asked)

    def _score(self, run: Path, step: Step) -> pl.DataFrame:
        manifest = RunDirectory(run).require_done()
        files = [[file.name, file.stat().st_size] for file in step.files]
        steps = step.files[0].parent.name
        key = key_of({"format": SCORED_FORMAT, "run": manifest["keys"]["run"], "steps": steps, "files": files})
        path = self._workspace.stage_path("scored", key)
        with self._workspace.missing("scored", key) as temporary:
            if temporary is not None:
                with (temporary / "scores.arrow").open("wb") as file:
                    _scored(run, step).write_ipc(file)
                write_json(temporary / "report.json", {"rows": step.rows})
        content = (path / "scores.arrow").read_bytes()
        return pl.read_ipc(content)


def _data(data: DataSettings, files: tuple[str, ...]) -> DataSettings:
    """The settings to train on these files of raw rows, with valid rows drawn from them and no test rows."""
    drawn = data.split
    share = getattr(drawn, "valid", None)
    share = share if isinstance(share, float) and share > 0.0 else DEFAULT_SHARE
    split: RandomSplit | KeySplit = RandomSplit(valid=share, test=0.0)
    if isinstance(drawn, KeySplit):
        split = KeySplit(kind="key", key=drawn.key, seed=drawn.seed, valid=share, test=0.0)
    file_format = FormatSettings(kind="parquet", trim=data.format.trim, missing=data.format.missing)
    changed = {"train": files, "valid": None, "test": None, "split": split, "format": file_format}
    return data.model_copy(update=changed)


def _scored(run: Path, step: Step) -> pl.DataFrame:
    scorer = Scorer.load(run)
    rows = InputRows(scorer, step.files, input_format=None, keep=(), labelled=True, reporter=Reporter())
    result = score_labelled(scorer, (typed for _, typed in rows), {})
    return pl.DataFrame({**result.targets, _SCORE: result.scores})


def _measured(
    loaded: LoadedRecipe,
    steps: Sequence[Step],
    first: int,
    scored: dict[Way, list[pl.DataFrame]],
    table: _Table,
    in_seconds: bool,
) -> Backtest:
    kind = loaded.recipe.data.label.kind
    metrics = _SHOWN[kind]

    def figures(frame: pl.DataFrame) -> dict[str, Estimate]:
        rows, score = _labelled(kind, frame), frame[_SCORE].to_numpy()
        known = estimates(rows, score) | ratio_estimates(rows, score)
        return {name: known[name] for name in metrics if name in known}

    def changes(known: dict[str, Estimate]) -> dict[str, Change]:
        return {name: estimate.change() for name, estimate in known.items()}

    by_step = []
    for number, step in enumerate(steps[first:]):
        frames = {way: scored[way][number] for way in scored}
        label = next(iter(frames.values()))[LABEL_COLUMN]
        of_ways = {way: changes(figures(frame)) for way, frame in frames.items()}
        by_step.append(ScoredStep(step.start, len(label), float(label.to_numpy().mean()), of_ways))
    whole = {way: figures(pl.concat(frames)) for way, frames in scored.items()}
    differences = {
        (one, other): {
            name: whole[one][name].minus(whole[other][name]).change()
            for name in metrics
            if name in whole[one] and metric_direction(name) is not None
        }
        for other, one in combinations(scored, 2)
    }
    return Backtest(
        by_step,
        metrics,
        {way: changes(known) for way, known in whole.items()},
        differences,
        table.seconds,
        sum(step.rows for step in steps[:first]),
        loaded.recipe.data.group is not None,
        len(table.unlearnt),
        in_seconds,
    )


def _labelled(kind: Any, frame: pl.DataFrame) -> LabelledRows:
    def column(name: str) -> NDArray[Any] | None:
        return frame[name].to_numpy() if name in frame.columns else None

    label = np.asarray(frame[LABEL_COLUMN].to_numpy())
    return LabelledRows.of(kind, label, column(WEIGHT_COLUMN), column(GROUP_COLUMN))
