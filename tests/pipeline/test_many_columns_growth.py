"""What is done to a table grows with its columns, not with their square: counted, not timed."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest

FEW, MANY = 100, 400
Command = Callable[..., tuple[int, str, str]]

_WHOLE = ("schema", "columns", "dtypes")
"""What a frame makes anew, for all its columns, each time that it is asked."""


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts queries, and the columns that frames were asked to list."""
    counts: Counter[str] = Counter()
    with monkeypatch.context() as patch:
        collect = pl.LazyFrame._collect_eager  # type: ignore[attr-defined]

        def counting_collect(frame: pl.LazyFrame, *arguments: object, **options: object) -> object:
            counts["queries"] += 1
            return collect(frame, *arguments, **options)

        patch.setattr(pl.LazyFrame, "_collect_eager", counting_collect)
        for name in _WHOLE:
            patch.setattr(pl.DataFrame, name, _counting(getattr(pl.DataFrame, name), name, counts))
        yield counts


def _counting(whole: property, name: str, counts: Counter[str]) -> property:
    def counting(frame: pl.DataFrame) -> object:
        counts[f"{name} listed"] += frame.width
        assert whole.fget is not None
        return whole.fget(frame)

    return property(counting)


def written(folder: Path, num_columns: int, nature: str, ending: str) -> Path:
    """A table of 40 rows, in a file."""
    random = np.random.default_rng(0)
    values = random.permuted(np.tile(np.arange(40), (num_columns, 1)), axis=1)
    columns = {
        f"x{number}": [f"v{value % 5}" for value in of_column] if nature == "category" else of_column * 1.5
        for number, of_column in enumerate(values)
    }
    frame = pl.DataFrame({**columns, "y": [0, 1] * 20})
    path = folder / f"log.{ending}"
    {"csv": frame.write_csv, "parquet": frame.write_parquet, "ndjson": frame.write_ndjson}[ending](path)
    return path


def counts_of(
    command: str, folder: Path, path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Command
) -> Counter[str]:
    """What the command does, once all that comes before it is done."""
    recipe = folder / "many.yaml"
    steps = {
        "init": ["init", path, "--label", "y", "-o", recipe],
        "ingest": ["ingest", recipe, "--work", folder],
        "train": ["train", recipe, "--work", folder, "--set", "training.epochs=1"],
        "predict": ["predict", folder / "runs/many/latest", path, "-o", folder / "scores.csv"],
        "eval": ["eval", folder / "runs/many/latest", path],
    }
    for name, arguments in steps.items():
        with counted(monkeypatch) as counts:
            code, _, stderr = widedeep(*arguments)
        assert code == 0, stderr
        if name == command:
            return counts
    raise AssertionError(command)


@pytest.mark.parametrize(
    ("command", "nature", "ending"),
    [
        ("init", "category", "csv"),
        ("init", "number", "csv"),
        ("init", "number", "ndjson"),
        ("ingest", "category", "csv"),
        ("ingest", "category", "parquet"),
        ("ingest", "number", "ndjson"),
        ("predict", "category", "parquet"),
        ("predict", "number", "csv"),
        ("train", "category", "csv"),
        ("train", "number", "parquet"),
        ("eval", "category", "ndjson"),
        ("eval", "number", "csv"),
    ],
)
def test_queries_and_listed_columns_grow_at_most_linearly_with_the_columns(
    command: str,
    nature: str,
    ending: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    widedeep: Command,
) -> None:
    few, many = (
        counts_of(
            command,
            (folder := tmp_path / str(num_columns)),
            written((folder.mkdir(), folder)[1], num_columns, nature, ending),
            monkeypatch,
            widedeep,
        )
        for num_columns in (FEW, MANY)
    )
    assert few
    for name, number in many.items():
        assert number <= 1.1 * MANY / FEW * max(few[name], FEW), name
