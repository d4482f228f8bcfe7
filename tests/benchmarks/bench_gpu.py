"""`make bench-gpu`: Wide & Deep on one CUDA device, in NVIDIA's Outbrain shape; writes tests/benchmarks/results/gpu.md.

`--device cpu --rows small` takes the same way in a tiny shape, so that the script cannot rot where there is no device; its
figures say nothing.
"""

import argparse
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from outbrain import (
    Shape,
    bytes_per_row,
    flop_per_row,
    layout_of,
    recipe_of,
    write_random_store,
)
from torch.profiler import ProfilerActivity, profile

from widedeep.encoded.batches import BatchStream
from widedeep.encoded.store import EncodedStore
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network
from widedeep.recipe.dump import dump_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.training.device import layers_in
from widedeep.training.feed import CopyingFeed, DeviceBatch, Feed, HostFeed, ResidentFeed
from widedeep.training.loop import Trainer

RESULTS = Path(__file__).parent / "results" / "gpu.md"
REPEATS, PROFILED_STEPS = 3, 20
PEAKS = {"H200": (989e12, 4.8e12), "H100": (989e12, 3.35e12), "A100": (312e12, 2.039e12)}
"""Dense bfloat16 FLOP/s and bytes/s by the vendor's data sheets, of the SXM cards (A100: of 80 GB)."""
FULL = Shape(rows=1 << 23, batch_size=131_072)
SMALL = Shape(rows=1_024, batch_size=256, hidden=(8, 8), shrink=64)
SMALL_BATCH = 4_096


class Notes(Reporter):
    """Keeps what training notes, for the report."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


@dataclass
class Bench:
    """A model of the shape, its trainer and its rows."""

    shape: Shape
    recipe: Recipe
    layout: InputLayout
    store: EncodedStore
    trainer: Trainer
    notes: Notes

    @classmethod
    def of(cls, shape: Shape, folder: Path, device: torch.device) -> "Bench":
        folder.mkdir()
        recipe, layout, notes = recipe_of(shape, folder), layout_of(shape), Notes()
        store = write_random_store(shape, layout, folder / "store")
        torch.manual_seed(recipe.seed)
        network = Network(layout, recipe.model)
        run = RunDirectory(folder / "run")
        return cls(
            shape,
            recipe,
            layout,
            store,
            Trainer(recipe, network, layout, store, None, run, device, notes, precision="bfloat16"),
            notes,
        )

    def stream(self, batch_size: int, seed: int | None) -> BatchStream:
        names = [column.name for column in self.layout.index_columns]
        lists = self.layout.list_names
        return BatchStream(self.store, names, self.layout.numeric_columns, batch_size, list_columns=lists, seed=seed)

    def resident(self) -> Feed:
        return ResidentFeed(self.stream(1 << 20, None), self.store.rows, self.trainer.device)

    def from_host(self) -> Feed:
        device = self.trainer.device
        return CopyingFeed(device) if device.type == "cuda" else HostFeed()

    def train_rates(self, feed: Feed) -> list[float]:
        """Rows per second of a pass over all rows, several times; the first pass, which compiles and captures, is left out."""
        self.trainer.network.train()
        return _rates(self, feed, lambda batch: self.trainer.learn(batch, 1.0))

    def eval_rates(self, feed: Feed, precision: AbstractContextManager[object]) -> list[float]:
        """The same of scores, which stay on the device; no metric."""
        network = self.trainer.network.eval()
        with torch.inference_mode(), precision:
            return _rates(self, feed, lambda b: torch.sigmoid(network(b.indices, b.numerics, b.bags)))

    def profile(self, feed: Feed) -> str:
        """Time of a step, kernels launched in it, and the shares of it that the device works and the host launches."""
        self.trainer.network.train()
        batches: Iterator[DeviceBatch] = feed.batches(self.stream(self.shape.batch_size, 1))
        for _, batch in zip(range(PROFILED_STEPS), batches, strict=False):
            self.trainer.learn(batch, 1.0)
        _wait(self.trainer.device)
        kept = [batch for _, batch in zip(range(PROFILED_STEPS), batches, strict=False)] or [batch]
        started = time.perf_counter()
        for batch in kept:
            self.trainer.learn(batch, 1.0)
        _wait(self.trainer.device)
        step = (time.perf_counter() - started) / len(kept)
        if self.trainer.device.type != "cuda":
            return f"step {step * 1e3:.2f} ms (launches are counted on cuda only)"
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiled:
            for batch in kept:
                self.trainer.learn(batch, 1.0)
            _wait(self.trainer.device)
        events = profiled.key_averages()
        launches = [event for event in events if "Launch" in event.key]  # cudaLaunchKernel, cuLaunchKernelEx, graphs
        launching = sum(event.self_cpu_time_total for event in launches) / 1e6 / len(kept)
        working = sum(event.self_device_time_total for event in events) / 1e6 / len(kept)
        count = sum(event.count for event in launches) / len(kept)
        return (
            f"step {step * 1e3:.3f} ms; {count:.0f} launches take {launching / step:.0%} of it on the host; "
            f"kernels take {working / step:.0%} of it on the device"
        )


def _rates(bench: Bench, feed: Feed, work: Callable[[DeviceBatch], object]) -> list[float]:
    rates = []
    for repeat in range(REPEATS + 1):
        started, rows = time.perf_counter(), 0
        for batch in feed.batches(bench.stream(bench.shape.batch_size, 1)):
            work(batch)
            rows += len(batch)
        _wait(bench.trainer.device)
        if repeat:
            rates.append(rows / (time.perf_counter() - started))
    return rates


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(full: Shape, small_batch: int, device: torch.device) -> str:
    """Run all rows of the report and return it."""
    rows: list[tuple[str, str, str]] = []
    peaks = next((peak for name, peak in PEAKS.items() if name in _card(device)), None)

    def add(title: str, target: str, rates: list[float], *, training: bool) -> None:
        rate = statistics.median(rates)
        figure = f"{rate:,.0f} rows/s ({min(rates):,.0f} to {max(rates):,.0f})"
        if peaks is not None:
            flop = rate * flop_per_row(bench.layout, full.hidden, training=training)
            moved = rate * bytes_per_row(bench.layout, full, training=training)
            figure += f"; {flop / peaks[0]:.0%} of peak FLOP/s, {moved / peaks[1]:.0%} of memory bandwidth"
        rows.append((title, target, figure))

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench.of(full, folder / "full", device)
        resident = bench.resident()
        trained = bench.train_rates(resident)
        add(f"training, batch {full.batch_size:,}", "≥ 10,000,000 rows/s (H200)", trained, training=True)
        fed = bench.train_rates(bench.from_host())
        ratio = statistics.median(fed) / statistics.median(trained)
        add("training, fed from host memory", "≥ 0.8 of the resident rate", fed, training=True)
        rows.append(("fed from host against resident", "≥ 0.8", f"{ratio:.2f}"))
        scored = bench.eval_rates(resident, nullcontext())
        add("scoring in float32, as `eval` does", "≥ 30,000,000 rows/s (H200)", scored, training=False)
        halved = bench.eval_rates(resident, layers_in("bfloat16", device))
        add("scoring in bfloat16, which `eval` does not", "–", halved, training=False)
        recipe = dump_recipe(bench.recipe)
        notes = list(bench.notes.notes)
        few = replace(full, batch_size=small_batch, rows=small_batch * 2 * PROFILED_STEPS)
        for title, shape in (
            (f"batch {small_batch:,}", few),
            (f"batch {small_batch:,}, one value in place of each list (captured)", replace(few, most_values=1)),
        ):
            one = Bench.of(shape, folder / str(shape.most_values), device)
            rows.append((title, "–", one.profile(one.resident())))
            notes += one.notes.notes
    return _report(rows, recipe, notes, full, device, peaks)


def _report(
    rows: list[tuple[str, str, str]],
    recipe: str,
    notes: list[str],
    shape: Shape,
    device: torch.device,
    peaks: tuple[float, float] | None,
) -> str:
    layout = layout_of(shape)
    libraries = ", ".join(f"{name} {_version(name)}" for name in ("torch", "triton", "polars", "numpy"))
    assumed = "no peak is known for it, so no share is given"
    if peaks is not None:
        assumed = f"peaks assumed: {peaks[0] / 1e12:.0f} TFLOP/s (dense bfloat16), {peaks[1] / 1e12:.2f} TB/s"
    lines = [
        "# make bench-gpu",
        "",
        f"{datetime.now(UTC):%Y-%m-%d}, {_card(device)}, {platform.machine()}, Python {platform.python_version()}, {libraries}; {assumed}.",
        "",
        f"{shape.rows:,} encoded rows with uniform random ids in NVIDIA's Outbrain shape, deep part "
        f"{'bfloat16' if device.type == 'cuda' else 'float32'}; by formula {flop_per_row(layout, shape.hidden, training=True) / 1e6:.1f} "
        f"MFLOP and at least {bytes_per_row(layout, shape, training=True) / 1e3:.1f} kB a trained row "
        f"({bytes_per_row(layout, shape, training=False) / 1e3:.1f} kB a scored one). Median of {REPEATS} passes (least to most).",
        "",
        "| row | target | measured |",
        "|---|---|---|",
        *(f"| {row} | {target} | {figure} |" for row, target, figure in rows),
        "",
        *(f"- {note}" for note in notes),
        "",
        "Resolved recipe:",
        "",
        "```yaml",
        recipe.rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _card(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def main() -> int:
    """Measure, print the report and write it. Returns 1 where there is no device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--rows", choices=("full", "small"), default="full")
    parser.add_argument(
        "--output", type=Path, help="default: tests/benchmarks/results/gpu.md for cuda and full, else none"
    )
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("bench-gpu: torch sees no CUDA device; nothing was measured and nothing written", file=sys.stderr)
        return 1
    small = arguments.rows == "small"
    report = measure(SMALL if small else FULL, 16 if small else SMALL_BATCH, torch.device(arguments.device))
    print(report)
    output = arguments.output or (RESULTS if arguments.device == "cuda" and not small else None)
    if output is not None:
        output.write_text(report, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
