"""Writes the sample logs, drawn from a known model (so the best possible figures are known), and their recipes."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from widedeep.errors import UsageError, WriteError
from widedeep.files import for_polars, temporary_directory, writing
from widedeep.reporting import Reporter
from widedeep.synth.criteo import LABEL_RATE, CriteoWorld, Planting
from widedeep.synth.draws import BoolArray, Counter, FloatArray
from widedeep.synth.drift import DRIFTING, DriftingWorld, drifting_recipe
from widedeep.synth.heavy import HeavyValue
from widedeep.synth.recipes import clicks_recipe, criteo_recipe
from widedeep.synth.users import Users
from widedeep.synth.world import CLICK_RATE, LOW_RANK, PLANTED, World, text_of, values_of

MIN_ROWS = 100
MIN_OF_A_CLASS = 20
"""Fewest expected rows of either label. A log with fewer might have none, and then no AUC."""

FILE_NAMES = ("log.csv", "log.parquet", "truth.json", "recipe.yaml")
"""The files that the folder of a sample log, of any shape, may hold."""

_BLOCK_ROWS = 100_000
"""Rows drawn and written at once. The log does not depend on it: draws are hashes of seed, name and row number."""

_ROW_GROUP_ROWS = 1 << 17

_Labelled = tuple[pl.DataFrame, FloatArray, BoolArray]
"""Rows of the log, their probabilities of a positive label, and their labels."""


@dataclass(frozen=True)
class SampleLog:
    """What was written, and the best figures that any model can reach on it."""

    rows: int
    best_auc: float
    """AUC of the true probabilities, which no model can exceed but by chance."""
    best_log_loss: float
    planted: list[tuple[str, ...]]
    """Columns with a weight for every combination of their values."""
    low_rank: list[tuple[str, ...]]
    files: list[Path]


def write_sample_log(
    out_dir: Path,
    rows: int,
    seed: int,
    reporter: Reporter,
    *,
    rate: float = CLICK_RATE,
    lift: float = 1.0,
    new_users: float | None = None,
) -> SampleLog:
    """Write `log.csv`, `truth.json` (with the planted weights) and `recipe.yaml` into the existing folder `out_dir`.

    `rate` is the expected share of clicks, in (0, 1). With `lift` above 1, a few values of a few columns are heavy:
    their rows have up to `lift` times the odds of a click, which for rare clicks is as many times the clicks. With
    `new_users`, in [0, 1), users come and go, so that this share of the test rows (the last days) has a user whom no
    train row has.

    Equal arguments give equal bytes. Memory is bounded, apart from 9 bytes a row for the exact best AUC. Raises
    UsageError for fewer than 100 rows, a negative seed, a value out of its range, or so few expected rows of a label
    that there might be none; WriteError if the files cannot be written.
    """
    _check(rows, seed, rate, lift)
    if new_users is not None and not 0.0 <= new_users < 1.0:
        raise UsageError(f"--new-users must be at least 0 and below 1, not {new_users}: it is a share of the test rows")
    files = [out_dir / name for name in ("log.csv", "truth.json", "recipe.yaml")]
    world = World(seed, rate=rate, lift=lift, users=None if new_users is None else Users(rows, new_users))
    truth = _Truth(rows)
    with _naming(out_dir):
        with files[0].open("wb") as file:
            for frame in _blocks(lambda index: world.labelled(index, rows), truth, reporter):
                file.write(frame.write_csv(include_header=file.tell() == 0).encode())
        best = truth.best()
        weights = {" x ".join(pair): _weights(world, pair) for pair in PLANTED}
        content = {"rows": rows, "seed": seed, "ctr": truth.rate(), "planted": PLANTED, "low_rank": LOW_RANK}
        content |= _heavy(world.heavy, text_of) | ({} if new_users is None else {"new_users": new_users})
        files[1].write_text(json.dumps(content | best | {"weights": weights}) + "\n", encoding="utf-8")
        files[2].write_text(clicks_recipe(rows, seed, best["best_auc"]), encoding="utf-8")
    return SampleLog(rows, **best, planted=list(PLANTED), low_rank=list(LOW_RANK), files=files)


def write_criteo_log(
    out_dir: Path,
    rows: int,
    seed: int,
    planting: Planting,
    reporter: Reporter,
    *,
    rate: float = LABEL_RATE,
    lift: float = 1.0,
) -> SampleLog:
    """Write `log.parquet`, `truth.json` and `recipe.yaml` into the existing folder `out_dir`.

    Columns: `label` (Int8), I1…I13 (Int64), C1…C26 (8 hex digits). `rate`, `lift`, memory and errors are as for
    `write_sample_log`; UsageError also if the seed's columns cannot hold all that is to be planted. Equal arguments
    give equal bytes, and a longer log begins with the same rows.
    """
    _check(rows, seed, rate, lift)
    files = [out_dir / name for name in ("log.parquet", "truth.json", "recipe.yaml")]
    world = CriteoWorld(seed, planting, rate=rate, lift=lift)
    truth = _Truth(rows)
    with _naming(out_dir):
        _write_parquet(_blocks(world.labelled, truth, reporter), files[0])
        best = truth.best()
        columns = {"crosses": world.crosses, "low_rank": world.low_rank, "triples": world.triples}
        heavy = _heavy(world.heavy, world.text_of)
        content = {"rows": rows, "seed": seed, "ctr": truth.rate(), **columns, **heavy, **best}
        files[1].write_text(json.dumps(content) + "\n", encoding="utf-8")
        files[2].write_text(criteo_recipe(rows, seed, best["best_auc"], world.sizes), encoding="utf-8")
    return SampleLog(rows, **best, planted=[*world.crosses, *world.triples], low_rank=world.low_rank, files=files)


def write_drifting_log(
    out_dir: Path,
    rows: int,
    seed: int,
    reporter: Reporter,
    *,
    days: int,
    drift: float = 1.0,
    rate: float = CLICK_RATE,
) -> SampleLog:
    """Write `log.csv`, `truth.json` and `recipe.yaml` of a log over `days` days into the existing folder `out_dir`.

    Items and users come and go, and effects move by `drift`, see `DriftingWorld`. truth.json has the best figures of
    each day, and the moving effects of single values on the first and the last instant. Errors are as for
    `write_sample_log`; UsageError also for days below 2 and a negative drift.
    """
    _check(rows, seed, rate, 1.0)
    if days < 2:
        raise UsageError(f"--days must be at least 2, not {days}: within a day nothing moves")
    if not 0.0 <= drift < inf:
        raise UsageError(f"--drift must be a number of at least 0, not {drift}: 1 changes every moving effect wholly")
    files = [out_dir / name for name in ("log.csv", "truth.json", "recipe.yaml")]
    world, truth = DriftingWorld(seed, rows, days, drift, rate), _Truth(rows)
    with _naming(out_dir):
        with files[0].open("wb") as file:
            for frame in _blocks(world.labelled, truth, reporter):
                file.write(frame.write_csv(include_header=file.tell() == 0).encode())
        best, day = truth.best(), world.day_of(np.arange(rows, dtype=np.uint64))
        by_day = [{"day": number, **truth.of_rows(day == number).figures()} for number in range(days)]
        pairs = [columns for columns in DRIFTING if len(columns) == 2]
        moving = {
            columns[0]: {"first": world.weights(columns[0], 0.0), "last": world.weights(columns[0], 1.0)}
            for columns in DRIFTING
            if len(columns) == 1
        }
        content = {"rows": rows, "seed": seed, "days": days, "drift": drift, "ctr": truth.rate(), "planted": pairs}
        content |= {**best, "by_day": by_day, "moving": moving}
        files[1].write_text(json.dumps(content) + "\n", encoding="utf-8")
        files[2].write_text(drifting_recipe(rows, seed, days, best["best_auc"]), encoding="utf-8")
    return SampleLog(rows, **best, planted=list(pairs), low_rank=[], files=files)


def _check(rows: int, seed: int, rate: float, lift: float) -> None:
    if rows < MIN_ROWS:
        raise UsageError(f"--rows must be at least {MIN_ROWS}, not {rows}: fewer cannot be split and learnt from")
    if seed < 0:
        raise UsageError(f"--seed must not be negative, not {seed}")
    if not 0.0 < rate < 1.0:
        raise UsageError(f"--rate must be above 0 and below 1, not {rate}: it is the share of positive rows")
    if rows * min(rate, 1.0 - rate) < MIN_OF_A_CLASS:
        raise UsageError(
            f"--rate {rate:g} of --rows {rows:,} leaves fewer than {MIN_OF_A_CLASS} rows of a label: ask for at least "
            f"{ceil(MIN_OF_A_CLASS / min(rate, 1.0 - rate)):,} rows"
        )
    if not 1.0 <= lift < inf:
        raise UsageError(
            f"--lift must be a number of at least 1, not {lift}: heavy values click that many times as often"
        )


def _heavy(values: Sequence[HeavyValue], text_of: Callable[[HeavyValue], str]) -> dict[str, Any]:
    """The entry of truth.json about heavy values; empty without any."""
    heavy = [{"column": value.column, "value": text_of(value), "lift": value.lift} for value in values]
    return {"heavy": heavy} if heavy else {}


@contextmanager
def _naming(out_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WriteError(f"{out_dir}: cannot write the sample log: {error.strerror or error}") from error


class _Truth:
    """Collects the probabilities and labels of all rows, and computes the best possible figures from them."""

    def __init__(self, rows: int) -> None:
        self.probability, self.label = np.empty(rows), np.empty(rows, dtype=np.bool_)

    def rate(self) -> float:
        return float(self.label.mean()) if len(self.label) else 0.0

    def of_rows(self, rows: BoolArray) -> "_Truth":
        """Of some of the rows."""
        part = _Truth(0)
        part.probability, part.label = self.probability[rows], self.label[rows]
        return part

    def figures(self) -> dict[str, float | None]:
        """The number of rows, their rate and the best figures, None where the rows have one label."""
        if not 0.0 < self.rate() < 1.0:
            return {"rows": len(self.label), "ctr": self.rate(), "best_auc": None, "best_log_loss": None}
        return {"rows": len(self.label), "ctr": self.rate(), **self.best()}

    def best(self) -> dict[str, float]:
        log_loss = -np.log(np.where(self.label, self.probability, 1.0 - self.probability)).mean()
        return {"best_auc": _auc(self.label, self.probability), "best_log_loss": float(log_loss)}


def _blocks(labelled: Callable[[Counter], _Labelled], truth: _Truth, reporter: Reporter) -> Iterator[pl.DataFrame]:
    rows = len(truth.label)
    with reporter.work("writing the sample log", rows, "rows") as meter:
        for start in range(0, rows, _BLOCK_ROWS):
            part = slice(start, min(start + _BLOCK_ROWS, rows))
            index = np.arange(part.start, part.stop, dtype=np.uint64)
            frame, truth.probability[part], truth.label[part] = labelled(index)
            yield frame
            meter.update(part.stop)


def _write_parquet(frames: Iterator[pl.DataFrame], path: Path) -> None:
    # A Parquet file cannot be appended to: blocks wait in Arrow files and are streamed into one Parquet file at the
    # end.
    with temporary_directory(path.parent) as folder, writing(path):
        parts: list[Path] = []
        for frame in frames:
            parts.append(folder / f"{len(parts):06d}.arrow")
            with parts[-1].open("wb") as part:
                frame.write_ipc(part, compression="lz4")
        with path.open("wb") as file:
            rows = pl.scan_ipc([for_polars(part) for part in parts], glob=False)  # type: ignore[arg-type]
            rows.sink_parquet(file, row_group_size=_ROW_GROUP_ROWS)


def _weights(world: World, pair: tuple[str, str]) -> dict[str, dict[str, float]]:
    """Value of the first column → value of the second → effect of the combination on the logit."""
    table = world.planted_weights(*pair)
    left, right = (values_of(column) for column in pair)
    return {
        a: {b: round(float(w), 4) for b, w in zip(right, row, strict=True)} for a, row in zip(left, table, strict=True)
    }


def _auc(label: BoolArray, probability: FloatArray) -> float:
    """AUC: how often, in a random pair of a positive and a negative row, the positive has the higher probability."""
    positive, negative = np.sort(probability[label]), np.sort(probability[~label])
    below = np.searchsorted(negative, positive, "left").sum() + np.searchsorted(negative, positive, "right").sum()
    return float(below) / 2.0 / len(positive) / len(negative)
