"""A finished run for use from Python: its figures, its epochs, and scores of any table."""

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from widedeep.errors import ArtefactError, UsageError
from widedeep.figures import figure
from widedeep.recipe.kinds import FileKind
from widedeep.reporting import Reporter
from widedeep.runs import LATEST, RUNS, RunDirectory, find_run, folder_of_runs, settle_latest

if TYPE_CHECKING:
    import polars as pl

    from widedeep.recipe.load import LoadedRecipe
    from widedeep.recipe.schema import Recipe
    from widedeep.scoring.evaluate import EvalResult
    from widedeep.scoring.scorer import Scorer
    from widedeep.source.paths import Frame, Source

_REPR_METRICS = ("auc", "log_loss", "rmse", "mae")
"""Metrics in a run's `repr`."""


class ArrowStream(Protocol):
    """A table of any library that gives its rows as an Arrow C stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


Rows: TypeAlias = (
    "pl.DataFrame | pl.LazyFrame | ArrowStream | str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
)
"""Rows to score: a frame, or files (paths, globs, directories, URLs)."""


class Run:
    """A finished run, as `train` and `open_run` give it. The model is loaded when it is first needed, and then kept."""

    def __init__(
        self, path: str | os.PathLike[str], *, work_dir: str | os.PathLike[str] = ".", trust: bool = False
    ) -> None:
        """`path` is the run's directory; `trust` as in `open_run`.

        Raises ArtefactError for a run that is missing, unfinished or damaged.
        """
        if Path(path).name == LATEST:
            settle_latest(Path(path).parent)
        # Absolute, because a notebook may change its directory before the model is read.
        self.path = Path(path).resolve()
        """The run's directory, which is all that scoring needs, also on another machine."""
        self._work_dir = Path(work_dir).resolve()
        self.directory = RunDirectory(self.path, trust)
        """The paths in it, and their readers."""
        self.manifest: dict[str, Any] = self.directory.require_done()
        """Versions, seed, device and keys that it was made with."""
        self.facts: dict[str, Any] = self.directory.facts()
        """The content of `metrics.json`: metrics and their errors, rows, best epoch, speed, warnings."""

    def __repr__(self) -> str:
        parts = [self.recipe.model.kind, f"best epoch {self.facts['best_epoch']} of {self.facts['epochs']}"]
        for split, metrics in self.metrics.items():
            figures = [f"{name}={figure(metrics[name])}" for name in _REPR_METRICS if name in metrics]
            parts.append(" ".join([split, *figures]))
        if self.warnings:
            parts.append(f"{len(self.warnings)} warning{'s' * (len(self.warnings) != 1)}")
        return f"<Run {self.recipe.name}: {', '.join(parts)}; {self.path}>"

    @property
    def recipe(self) -> "Recipe":
        """The resolved recipe: overrides applied, every default written out."""
        return self.loaded_recipe.recipe

    @cached_property
    def loaded_recipe(self) -> "LoadedRecipe":
        """The resolved recipe and the folder that its relative data paths start from, as `load_recipe` gives them."""
        from widedeep.recipe.load import load_run_recipe  # not at the top: figures do not need the schema

        return load_run_recipe(self.directory, self.manifest)

    @property
    def metrics(self) -> dict[str, dict[str, float | None]]:
        """Held-out split → metric → figure, as measured at the end of training; None for an undefined figure."""
        metrics: dict[str, dict[str, float | None]] = self.facts["metrics"]
        return metrics

    @property
    def warnings(self) -> list[str]:
        """Sentences on faults of the model and what to try; empty if there are none."""
        return [warning["message"] for warning in self.facts.get("warnings", [])]

    @cached_property
    def epochs(self) -> "pl.DataFrame":
        """The log of training, a row for each epoch; without rows if the log is gone.

        Columns: `epoch` (from 1), `step`, `train_loss`, `seconds` since its start, `rows_per_second`,
        `learning_rate_scale`, `best` and `valid_…` for each metric of the valid rows.
        """
        import polars as pl  # not at the top: figures do not need it

        flat = []
        for event in self.directory.epochs():
            valid = event.pop("valid", None) or {}
            flat.append({name: value for name, value in event.items() if name != "event"})
            flat[-1] |= {f"valid_{name}": value for name, value in valid.items()}
        return pl.DataFrame(flat, infer_schema_length=None)

    def summary(self) -> dict[str, Any]:
        """What the run is, as `widedeep show --json` prints it: recipe, model, fields and figures, when and how it was
        made, its size in bytes and the links that lead to it.

        >>> summary = open_run("runs/sample/latest").summary()
        >>> summary["recipe"], summary["split"], summary["links"]
        ('sample', 'time', ['latest'])
        """
        from widedeep.pipeline.listed_runs import bytes_of, links_to  # only here: scoring does not need it

        recipe, facts, manifest = self.recipe, self.facts, self.manifest
        measured = ("metrics", "errors", "rows", "parameters", "best_epoch", "epochs", "stopped", "seconds")
        told = ("started", "widedeep", "python", "libraries", "git_commit", "device", "threads", "precision", "argv")
        return {
            "run": self.path,
            "links": links_to(self.path),
            "recipe": recipe.name,
            "model": recipe.model.kind,
            "label": {"column": recipe.data.label.column, "kind": recipe.data.label.kind},
            "split": None if recipe.data.split is None else recipe.data.split.kind,
            "fields": recipe.features.num_fields(),
            "crosses": [cross.fields for cross in recipe.crosses],
            "seed": recipe.seed,
            **{name: facts.get(name) for name in measured},
            "rows_per_second": facts["rows_per_second"],
            "warnings": self.warnings,
            "went_on_from": (manifest.get("from") or {}).get("run"),
            "refit": manifest.get("refit"),
            **{name: manifest.get(name) for name in told},
            "keys": manifest["keys"],
            "bytes": bytes_of(self.path),
        }

    def predict(
        self,
        rows: Rows,
        *,
        keep: str | Sequence[str] = (),
        tables: Mapping[str, str] = MappingProxyType({}),
        input_format: FileKind | None = None,
        reporter: Reporter | None = None,
    ) -> "pl.DataFrame":
        """Score `rows`: a Polars frame with the `keep` columns and `score` (Float32), one row each, in input order.

        `rows` is a frame of Polars, lazy or not; any table with the Arrow C stream (pandas, pyarrow, DuckDB); or files:
        a path, a glob, a directory, a URL or a list of them, read as `widedeep predict` reads them. The index of a
        pandas table is a column too, unless it only counts rows. `input_format` is the files' format if their endings
        do not tell it. Label, weight, time and group may be absent. In frames, too, texts are trimmed and the recipe's
        missing texts are null; kept categories are returned as texts. `tables` maps side tables to files that replace
        the recipe's.

        `reporter` is warned if the rows are past a limit of the recipe's `scoring.limits`; nothing is refused.

        The scores are those of `widedeep predict`. They are equal to the bit if the rows come in the same blocks (up to
        131,072 rows, and 16 MB of text); otherwise the last digit of a few rows may differ.

        Raises ColumnError for a missing column; DataError, which names the row (counted from 1), for a value that is
        refused and for rows that cannot be read; UsageError if `rows` is nothing of this kind; ArtefactError for a run
        that does not load.

        >>> import polars as pl
        >>> frame = pl.read_csv("sample/log.csv")
        >>> scores = open_run("runs/sample/latest").predict(frame.drop("click"), keep=["user", "time"])
        >>> scores.dtypes, scores.height == frame.height
        ([String, String, Float32], True)
        """
        from widedeep.scoring.predict import predict_rows  # only now: torch is slow to import

        return predict_rows(
            self.scorer,
            self.path,
            _sources(rows),
            input_format=input_format,
            keep=[keep] if isinstance(keep, str) else keep,
            tables=tables,
            reporter=reporter or Reporter(),
        )

    def evaluate(
        self,
        rows: "Rows | None" = None,
        *,
        split: Literal["train", "valid", "test"] | None = None,
        tables: Mapping[str, str] = MappingProxyType({}),
        wait: bool = False,
        reporter: Reporter | None = None,
    ) -> "EvalResult":
        """Measure the run on labelled `rows`, as in `predict`, or on one of its splits (default: test, else valid).

        A split is read from the typed table that the run was trained on. If that is gone, it is made again from the
        recipe's files, in the work directory. `reporter` is told if the model is no good for new rows. Raises what
        `predict` raises, DataError for rows without labels, UsageError for rows and a split at once.

        >>> open_run("runs/sample/latest").evaluate(split="valid").rows
        100
        """
        check_choice(rows, split, tables)
        from widedeep.pipeline.evaluate import evaluate_run  # only now: torch is slow to import

        return evaluate_run(
            self.directory,
            self.scorer,
            () if rows is None else _sources(rows),
            split=split,
            work_dir=self._work_dir,
            reporter=reporter or Reporter(),
            tables=tables,
            wait=wait,
        )

    @cached_property
    def scorer(self) -> "Scorer":
        """What scores rows: the loaded model and its plan."""
        from widedeep.scoring.scorer import Scorer  # only now: torch is slow to import

        return Scorer.load(self.path, trust=self.directory.trust)


def open_run(run: str | os.PathLike[str], *, work_dir: str | os.PathLike[str] = ".", trust: bool = False) -> Run:
    """The finished run that `run` names: its directory, `runs/<recipe>/serving` or `latest`, or a recipe.

    For a recipe, its file or its name, it is the latest run in `work_dir`. Relative paths are tried as they are and
    from `work_dir`. Of a run that another user or another machine made, no file that its recipe names is read (side
    tables, the data of its splits), unless you `trust` it. Raises ArtefactError if there is no such run, or it is
    unfinished or damaged.

    >>> open_run("sample/recipe.yaml").path == open_run("runs/sample/latest").path
    True
    """
    return Run(run_path(run, Path(work_dir)), work_dir=work_dir, trust=trust)


def run_path(run: str | os.PathLike[str], work_dir: Path) -> Path:
    """The directory of the run that `run` names, see `open_run`, finished or not. Raises ArtefactError."""
    argument = os.fspath(run)

    def name_of_recipe() -> str | None:
        from widedeep.api.recipes import recipe_name  # only here: most callers name the run itself

        return recipe_name(argument)

    return find_run(argument, work_dir, name_of_recipe)


def recipe_folder(argument: str, work_dir: Path) -> Path:
    """The folder of the runs of a recipe, `runs/<recipe>`, which its name, its file, the folder or a run in it names.

    Raises ArtefactError if there is no such folder.
    """
    from widedeep.api.recipes import recipe_name  # only here: most callers name the run itself

    if (of_name := folder_of_runs(argument, work_dir)) is not None:
        return of_name
    for path in (Path(argument).resolve(), (work_dir / argument).resolve()):
        for folder in (path, path.parent):
            if folder.is_dir() and folder.parent.name == RUNS:
                return folder
    name = recipe_name(argument)
    if name is not None and (of_name := folder_of_runs(name, work_dir)) is not None:
        return of_name
    raise ArtefactError(
        f"{argument}: no runs of such a recipe lie in {work_dir / RUNS}: `widedeep runs` lists those that do"
    )


def check_choice(rows: object | None, split: str | None, tables: Mapping[str, str]) -> None:
    """Raise UsageError if both new rows and a split are given, or side tables without new rows."""
    if rows is not None and split is not None:
        raise UsageError(f"--split {split} is a part of the run's own data: give it, or new rows, not both")
    if rows is None and tables:
        raise UsageError("--table says where a side table of new files lies: name the files to measure on")


def _sources(rows: Rows) -> "list[Source | Frame]":
    """The frames or files to read. Raises UsageError if `rows` is neither, DataError for a stream that fails."""
    import polars as pl

    from widedeep.scoring.rows import FRAME_NAME

    if isinstance(rows, pl.DataFrame | pl.LazyFrame):
        return [rows]
    if isinstance(rows, str | os.PathLike):
        return [os.fspath(rows)]
    if hasattr(rows, "__arrow_c_stream__"):
        from widedeep.source.frames import frame_of

        return [frame_of(rows, name=FRAME_NAME)]
    if isinstance(rows, Sequence) and rows and all(isinstance(file, str | os.PathLike) for file in rows):
        return [os.fspath(file) for file in rows]
    raise UsageError(
        "rows are a Polars frame, a table with the Arrow C stream (pandas, pyarrow, DuckDB), a file or a list of "
        f"files, not {'an empty list' if rows == [] else f'a value of type {type(rows).__qualname__}'}"
    )
