"""Rows of training: the real loop on an encoded store that is drawn, against the neural network alone on ready inputs.

    python tests/benchmarks/training_rows.py

prints the ratios in both precisions, least to most, by this process's CPU time (for a machine that is shared) and by time.
"""

import gc
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from click_log import ClickLog, write_recipe
from torch import nn

from widedeep.encoded.folds import row_folds
from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.features.plan import IndexColumn
from widedeep.features.targets import LABEL_COLUMN
from widedeep.memory.cross_memory import CrossMemory, FoldMemory
from widedeep.memory.from_store import cross_column, main_columns, numeric_cuts, target
from widedeep.memory.remember import remember
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Meter, Reporter
from widedeep.runs import RunDirectory
from widedeep.synth.criteo import CARDINALITIES, NUMERIC
from widedeep.training import loop
from widedeep.training.device import Precision, choose_precision, layers_in, peak_memory_bytes, set_threads
from widedeep.training.loop import Trainer

ZIPF_EXPONENT = 1.1
CROSS_SIZES = (1_500, 3_000, 6_000, 12_000, 24_000, 40_000, 60_000, 90_000)
"""Combinations of the eight crosses, most rows in those with many rows."""
WARM_UP = 0.2
"""Share of a run's rows that are trained on before its clock starts."""
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
_BLOCK_ROWS = 1 << 16


@dataclass(frozen=True)
class Size:
    """How large the measurement is."""

    steps: int = 100
    batch_size: int = 4096
    hidden: tuple[int, ...] = (400, 400, 400)
    runs: int = 3

    @property
    def rows(self) -> int:
        """Rows of the store, each trained on once."""
        return self.steps * self.batch_size


@dataclass(frozen=True)
class Moment:
    """A time in seconds, and the CPU time that this process has had, all threads together."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> "Moment":
        return cls(time.perf_counter(), time.process_time())


@dataclass(frozen=True)
class Rate:
    """Rows per second of time, and per second of this process's CPU time: the second holds on a busy machine too."""

    wall: float
    cpu: float

    @classmethod
    def between(cls, start: Moment, end: Moment, rows: float) -> "Rate":
        return cls(rows / (end.wall - start.wall), rows / (end.cpu - start.cpu))

    def over(self, other: "Rate") -> "Rate":
        """Both as ratios to another's."""
        return Rate(self.wall / other.wall, self.cpu / other.cpu)


class StepClock(Reporter):
    """Hears of every finished piece of training and keeps the time: what lies between two is whole steps, feed included."""

    def __init__(self) -> None:
        self.started = Moment.now()
        self.ticks: list[tuple[Moment, float]] = []
        """(time, rows done)."""

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[Meter]:
        self.started = Moment.now()
        clock = self

        class Ticking(Meter):
            def update(self, done: float, **figures: float) -> None:
                clock.ticks.append((Moment.now(), done))

        yield Ticking()

    def rate(self, skip: float = 0.0) -> Rate:
        """Between the first tick at which `skip` rows were done (0: the start) and the last one."""
        start, before = next(tick for tick in self.ticks if tick[1] >= skip) if skip else (self.started, 0.0)
        end, done = self.ticks[-1]
        return Rate.between(start, end, done - before)

    def rows_per_second(self, skip: float = 0.0) -> float:
        """`rate`, by the wall's clock."""
        return self.rate(skip).wall


# ------------------------------------------------------------------------------------------------------ what is drawn


def draw_store(directory: Path, table_rows: int, rows: int) -> tuple[EncodedStore, InputLayout]:
    """A store of Criteo's shape whose 26 columns have `table_rows` values in all, Zipf-distributed, and eight crosses."""
    share = table_rows / sum(CARDINALITIES.values())
    columns = [
        IndexColumn(name, "categorical", size, (name,), 16)
        for name, size in ((name, max(4, round(size * share))) for name, size in CARDINALITIES.items())
    ]
    columns += [
        IndexColumn(f"X{number}", "cross", size, (f"X{number}",), None) for number, size in enumerate(CROSS_SIZES)
    ]
    draw = np.random.default_rng(0)
    blocks = (_block(draw, columns, min(_BLOCK_ROWS, rows - start)) for start in range(0, rows, _BLOCK_ROWS))
    write_stores([(directory, blocks)])
    return EncodedStore.open(directory), InputLayout.of(columns, NUMERIC)


def _block(draw: np.random.Generator, columns: Sequence[IndexColumn], rows: int) -> pl.DataFrame:
    block = {column.name: _zipf(draw.random(rows), column.size) for column in columns}
    numbers = {name: draw.random(rows, dtype=np.float32) for name in NUMERIC}
    return pl.DataFrame({**block, **numbers, LABEL_COLUMN: (draw.random(rows) < 0.3).astype(np.float32)})


def _zipf(uniform: np.ndarray, size: int) -> np.ndarray:
    # The inverse of the continuous power law on [1, size + 1), rounded down: 0 is the most frequent index.
    power = 1.0 - ZIPF_EXPONENT
    ranks = (1.0 + uniform * ((size + 1.0) ** power - 1.0)) ** (1.0 / power) - 1.0
    whole: np.ndarray = np.minimum(ranks, size - 1).astype(np.int32)
    return whole


def recipe_of(work: Path, kind: str, crosses: str, size: Size) -> Recipe:
    """The resolved recipe that the loop is driven with; the files it names are not read."""
    path = write_recipe(
        work / f"{kind}.yaml",
        ClickLog(work / "none.csv", work / "none.csv", ()),
        model={
            "kind": kind,
            "wide": {"crosses": crosses},
            "embeddings": {"dim": 16},
            "deep": {"hidden": list(size.hidden)},
        },
        training={"epochs": 1, "batch_size": size.batch_size, "checkpoint_seconds": 86_400},
    )
    return load_recipe(path).recipe


# ------------------------------------------------------------------------------------------------------ what is timed


def train_once(
    recipe: Recipe,
    network: Network,
    layout: InputLayout,
    store: EncodedStore,
    work: Path,
    precision: Precision = "float32",
) -> tuple[Trainer, StepClock]:
    """The real loop over the store, with its checkpoint at the end, and the clock that watched every step of it."""
    run, clock = RunDirectory(work / "run"), StepClock()
    shutil.rmtree(run.path, ignore_errors=True)
    run.best_path.parent.mkdir(parents=True)
    cpu = torch.device("cpu")
    trainer = Trainer(recipe, network, layout, store, None, run, cpu, clock, precision=precision)
    with mock.patch.object(loop, "METER_SECONDS", 0.0):
        trainer.run(resume=False)
    return trainer, clock


class Contender:
    """One kind of model on one store, trained anew at every run."""

    def __init__(
        self,
        work: Path,
        store: EncodedStore,
        layout: InputLayout,
        size: Size,
        kind: str,
        crosses: str = "gradient",
        precision: Precision = "float32",
    ) -> None:
        self.work, self.store, self.size, self.precision = work, store, size, precision
        self.recipe = recipe_of(work, kind, crosses, size)
        kept = [column for column in layout.index_columns if kind != "deep" or column.kind == "categorical"]
        self.layout = InputLayout.of(kept, layout.numeric_columns)
        self._memory = self._remember() if crosses == "out_of_fold" else None

    def _remember(self) -> tuple[CrossMemory, FoldMemory]:
        store, layout = self.store, self.layout
        crosses, numerics = [cross_column(store, column) for column in layout.crosses], layout.numeric_columns
        return remember(
            main_columns(store, layout.index_columns, numerics, numeric_cuts(store, numerics)),
            crosses,
            [2] * len(crosses),
            target(store, "binary"),
            row_folds(0, store.rows, self.recipe.model.wide.folds),
            Reporter(),
        )[:2]

    def trained(self) -> tuple[Trainer, StepClock]:
        """A trainer that has done its one epoch, checkpoint and all, and the clock that watched it."""
        torch.manual_seed(0)
        network = Network(self.layout, self.recipe.model)
        if self._memory is not None:
            known, folds = self._memory
            crosses = network.cross_memory
            assert crosses is not None
            crosses.remember(torch.from_numpy(known.value), torch.from_numpy(known.support))
            crosses.start_from(torch.from_numpy(known.scale), torch.from_numpy(known.offset))
            crosses.train_on_folds(torch.from_numpy(folds.value), torch.from_numpy(folds.support))
        return train_once(self.recipe, network, self.layout, self.store, self.work, self.precision)

    def rate(self) -> Rate:
        """Of whole steps, after a warm-up; the checkpoint at the end is left out."""
        rate = self.trained()[1].rate(WARM_UP * self.store.rows)
        gc.collect()
        return rate


def mlp_alone(input_dim: int, size: Size, precision: Precision = "float32") -> Rate:
    """Forward, backward with the gradient to the inputs, and an Adam step, on ready inputs: torch's own layers."""
    widths = [input_dim, *size.hidden]
    layers = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
    tower = nn.Sequential(*layers, nn.Linear(widths[-1], 1), nn.Flatten(0))
    optimizer = torch.optim.Adam(tower.parameters(), fused=True)
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32  # no copy of the inputs is to be made
    inputs = torch.randn(size.batch_size, input_dim).to(dtype).requires_grad_()
    label = torch.randint(0, 2, (size.batch_size,)).float()
    started = Moment.now()
    warm_up = int(WARM_UP * size.steps)
    for step in range(size.steps):
        if step == warm_up:
            started = Moment.now()
        inputs.grad = None
        with layers_in(precision, inputs.device):
            logit = tower(inputs).float()
        F.binary_cross_entropy_with_logits(logit, label).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return Rate.between(started, Moment.now(), (size.steps - warm_up) * size.batch_size)


# ----------------------------------------------------------------------------------------------------------- the rows


@dataclass(frozen=True)
class Against:
    """Ratios to the MLP alone in the same precision, one per repetition, and the recipe that was trained."""

    deep: list[Rate]
    wide_deep: list[Rate]
    """With eight crosses, as by default: their values from counts, out of fold."""
    by_gradient: list[Rate]
    """With eight crosses whose weights are learnt along."""
    alone: list[Rate]
    """Of the MLP alone."""
    recipe: str

    def wide_deep_rates(self) -> list[Rate]:
        """Of `wide_deep`, in rows per second."""
        return [Rate(r.wall * a.wall, r.cpu * a.cpu) for r, a in zip(self.wide_deep, self.alone, strict=True)]


def against_the_mlp_alone(
    work: Path, size: Size = Size(), table_rows: int = 200_000, precisions: Sequence[Precision] = ()
) -> dict[Precision, Against]:
    """In each precision: each contender in turn, the MLP alone before each round.

    Without `precisions`, float32 and the one that `training.precision: auto` takes on this machine's CPU.
    """
    set_threads(None)
    if not precisions:
        chosen = choose_precision(recipe_of(work, "deep", "gradient", size), torch.device("cpu"))
        precisions = PRECISIONS[: PRECISIONS.index(chosen) + 1]
    store, layout = draw_store(work / "store", table_rows, size.rows)
    input_dim = 16 * len(CARDINALITIES) + len(NUMERIC)
    contenders = {
        precision: [
            Contender(work, store, layout, size, kind, crosses, precision)
            for kind, crosses in (("deep", "gradient"), ("wide_deep", "out_of_fold"), ("wide_deep", "gradient"))
        ]
        for precision in precisions
    }
    results: dict[Precision, Against] = {
        precision: Against([], [], [], [], dump_recipe(ours[1].recipe)) for precision, ours in contenders.items()
    }
    for _ in range(size.runs):
        for precision, ours in contenders.items():
            alone = mlp_alone(input_dim, size, precision)
            result = results[precision]
            result.alone.append(alone)
            for ratios, contender in zip((result.deep, result.wide_deep, result.by_gradient), ours, strict=True):
                ratios.append(contender.rate().over(alone))
    return results


def large_tables_against_small(
    work: Path, size: Size = Size(), small_rows: int = 200_000, large_rows: int = 20_000_000
) -> list[float]:
    """`deep` with tables of `large_rows` rows in all against `deep` with `small_rows`, as ratios of their rates."""
    set_threads(None)
    small, large = (
        Contender(work, *draw_store(work / f"store-{rows}", rows, size.rows), size, "deep")
        for rows in (small_rows, large_rows)
    )
    ratios = []
    for _ in range(size.runs):
        base = small.rate()
        ratios.append(large.rate().over(base).wall)
    return ratios


def memory_of_large_tables(work: Path, size: Size = Size(steps=30), large_rows: int = 20_000_000) -> tuple[int, int]:
    """Bytes at this process's peak, a whole training with its checkpoint, and bytes of tables and optimizer state."""
    set_threads(None)
    trainer, _ = Contender(work, *draw_store(work / "store", large_rows, size.rows), size, "deep").trained()
    tensors = [table.weight for table in trainer.network.embedding_tables()]
    tensors += [tensor for name, tensor in trainer.optimizers.tensors().items() if name.startswith("embeddings")]
    return peak_memory_bytes(), sum(tensor.numel() * tensor.element_size() for tensor in tensors)


if __name__ == "__main__":
    # What a step costs in each precision beside the MLP alone, of this process's CPU time: for a machine that is shared.
    with tempfile.TemporaryDirectory() as folder:
        for measured, against in against_the_mlp_alone(Path(folder), precisions=PRECISIONS).items():
            for told in ("alone", "deep", "wide_deep", "by_gradient"):
                rates = getattr(against, told)
                for clock in ("cpu", "wall"):
                    values = sorted(getattr(rate, clock) for rate in rates)
                    print(measured, told, clock, *(f"{value:,.3f}" for value in values), flush=True)
