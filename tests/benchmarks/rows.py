"""The rows of the table: what each measures, against what, with which target."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

# The rows' own modules are imported in the process that measures them, and only there.
from click_log import CATEGORICAL, WIDEDEEP, ClickLog, write_recipe
from figures import Figure


@dataclass(frozen=True)
class Bench:
    """What every row is given."""

    log: ClickLog
    scratch: Path
    """Where peers are installed."""
    work: Path
    """An empty folder of the row's own."""
    runs: int


@dataclass
class Measured:
    """What a row gives."""

    figures: list[Figure]
    recipes: dict[str, str] = field(default_factory=dict)
    """Resolved recipes by what they were used for."""


def ingest(bench: Bench) -> Measured:
    from ingest_rows import ingest_against_polars

    ratios = ingest_against_polars(bench.log.train, bench.work, bench.runs)
    return Measured([Figure("ingest a CSV", "Polars `scan_csv → sink_parquet`, its time", ratios, at_most=1.3)])


def encode(bench: Bench) -> Measured:
    from ingest_rows import encode_against_polars

    ratios = encode_against_polars(bench.log.train, bench.work, bench.runs)
    row = "CSV → encoded store with vocabularies and 8 crosses"
    return Measured([Figure(row, "Polars `scan_csv → sink_parquet`, its time", ratios, at_most=2.2)])


def cross_cells(bench: Bench) -> Measured:
    from ingest_rows import cross_cells_per_second

    cells = cross_cells_per_second(bench.log.train, bench.work, bench.runs)
    row = "cross cells built per second, from strings"
    return Measured([Figure(row, "–", cells, at_least=30_000_000, form=",.0f")])


def train(bench: Bench) -> Measured:
    from training_rows import Size, against_the_mlp_alone

    by_precision = against_the_mlp_alone(bench.work, Size(runs=bench.runs))
    figures = []
    for precision, ratios in by_precision.items():
        against = f"the MLP alone in {precision}, torch's own layers, its rate"
        note = f"alone {max(rate.wall for rate in ratios.alone):,.0f} rows/s"
        for row, rates, at_least in (
            ("training `deep`, tables of 0.2M rows", ratios.deep, {"float32": 0.97}.get(precision)),
            ("training `wide_deep` with 8 crosses", ratios.wide_deep, {"float32": 0.93}.get(precision, 0.90)),
            ("– its crosses by gradient", ratios.by_gradient, {"float32": 0.90}.get(precision)),
        ):
            values = [rate.wall for rate in rates]
            figures.append(Figure(f"{row}, {precision}", against, values, at_least=at_least, note=note))
            note = ""
    if "bfloat16" in by_precision:
        pairs = zip(by_precision["bfloat16"].wide_deep_rates(), by_precision["float32"].wide_deep_rates(), strict=True)
        gains = [ours.over(before).wall for ours, before in pairs]
        figures.append(Figure("– `wide_deep` in bfloat16", "the same in float32, its rate", gains))
    return Measured(figures, {"training": by_precision["float32"].recipe})


def large_tables(bench: Bench) -> Measured:
    from training_rows import Size, large_tables_against_small

    ratios = large_tables_against_small(bench.work, Size(runs=bench.runs))
    row = "`deep` with tables of 20M rows, Zipf-distributed"
    return Measured([Figure(row, "`deep` at 0.2M rows, its rate", ratios, at_least=0.85)])


def memory(bench: Bench) -> Measured:
    from training_rows import memory_of_large_tables

    peak, held = memory_of_large_tables(bench.work)
    return Measured(
        [
            Figure(
                "– its peak memory, checkpoint included",
                f"1.2 × tables and optimizer state ({held / 1e9:.2f} GB) + 1 GB",
                [peak / 1e9],
                at_most=(1.2 * held + 1e9) / 1e9,
                unit=" GB",
            )
        ]
    )


def wide(bench: Bench) -> Measured:
    from wide_row import wide_against_vowpal_wabbit

    passes = wide_against_vowpal_wabbit(bench.log, bench.work, bench.scratch, bench.runs)
    rates = {rule: [one.rows_per_second for one in done] for rule, done in passes.theirs.items()}
    aucs = {rule: done[0].auc for rule, done in passes.theirs.items()}
    quickest = max(rates, key=lambda rule: median(rates[rule]))
    best = max(aucs, key=lambda rule: aucs[rule])
    ratios = [one.rows_per_second / their for one, their in zip(passes.ours, rates[quickest], strict=True)]
    own = passes.ours[0].auc
    row = "training `wide` with 8 crosses, a pass over encoded data"
    note = f"{median(one.rows_per_second for one in passes.ours):,.0f} against {median(rates[quickest]):,.0f} rows/s"
    auc_note = f"{own:.4f} against " + ", ".join(f"{auc:.4f} ({rule})" for rule, auc in aucs.items())
    return Measured(
        [
            Figure(row, f"Vowpal Wabbit ({quickest}), its cache, its rate", ratios, at_least=5.0, note=note),
            Figure(
                "– its AUC", f"Vowpal Wabbit ({best}), difference", [own - aucs[best]], 0.0, form="+.4f", note=auc_note
            ),
        ],
        {"wide": passes.recipe},
    )


def scoring(bench: Bench) -> Measured:
    from scoring_rows import scoring_against_forward

    run, rows = _trained_run(bench)
    row = "scoring, Parquet to Parquet, 26 string columns encoded on the way"
    ratios = scoring_against_forward(run, rows, bench.runs)
    return Measured([Figure(row, "the model's forward on ready inputs, its rate", ratios, at_least=1.2)])


def whole(bench: Bench) -> Measured:
    from whole_row import whole_against_peers

    result = whole_against_peers(bench.log, bench.work, bench.scratch, bench.runs)
    quickest = min(result.peers, key=lambda name: result.peers[name].seconds)
    best = max(result.peers, key=lambda name: result.peers[name].auc)
    times = ", ".join(f"{name} {one.seconds:.0f} s" for name, one in result.peers.items())
    aucs = ", ".join(f"{name} {one.auc:.4f}" for name, one in result.peers.items())
    lacking = "".join(f"; {name} could not be run" for name in result.failed)
    seconds, own = [one.seconds for one in result.ours], result.ours[0].auc
    linear, goal = [one.seconds for one in result.linear], result.peers[best]
    return Measured(
        [
            Figure(
                "CSV → trained → scored test, one epoch",
                f"the quicker peer ({quickest}), its time",
                [one / result.peers[quickest].seconds for one in seconds],
                at_most=0.4,
                note=f"{min(seconds):.0f} to {max(seconds):.0f} s; {times}{lacking}",
            ),
            Figure(
                "– its AUC",
                f"the better peer ({best}), difference",
                [own - result.peers[best].auc],
                at_least=0.0,
                form="+.4f",
                note=f"{own:.4f}; {aucs}",
            ),
            Figure(
                "CSV → scored test by `wide` with 8 crosses, one epoch",
                f"the better peer ({best}), its time",
                [one / goal.seconds for one in linear],
                at_most=0.15,
                note=f"{min(linear):.0f} to {max(linear):.0f} s",
            ),
            Figure(
                "– its AUC",
                f"the better peer ({best}), difference",
                [result.linear[0].auc - goal.auc],
                at_least=0.0,
                form="+.4f",
                note=f"{result.linear[0].auc:.4f}",
            ),
        ],
        {"whole": result.recipe},
    )


def growth(bench: Bench) -> Measured:
    from growth_row import growth as grown

    result = grown(bench.work)
    small, large = result.small, result.large
    times = f"{large[0].seconds:.0f} s against {small[0].seconds:.0f} s"
    peaks = f"{large[0].peak_bytes / 1e9:.2f} GB against {small[0].peak_bytes / 1e9:.2f} GB"
    pairs = list(zip(large, small, strict=True))
    return Measured(
        [
            Figure(
                "CSV → trained → scored test, 10M rows, capped vocabularies",
                "1M rows, its time",
                [one.seconds / base.seconds for one, base in pairs],
                at_most=6.5,
                note=times,
            ),
            Figure(
                "– its peak memory",
                "1M rows, its peak memory",
                [one.peak_bytes / base.peak_bytes for one, base in pairs],
                at_most=1.15,
                note=peaks,
            ),
        ]
    )


def help_start(bench: Bench) -> Measured:
    from start_rows import help_start_seconds

    seconds = help_start_seconds(bench.runs)
    return Measured([Figure("`widedeep --help`", "python's own start", seconds, at_most=0.25, form="+.2f", unit=" s")])


def cold_scoring(bench: Bench) -> Measured:
    from start_rows import cold_scoring_ratio

    run, rows = _trained_run(bench)
    ratios = cold_scoring_ratio(run, rows, bench.runs)
    return Measured([Figure("scoring 1,000 rows from cold", "`import torch`, its time", ratios, at_most=1.2)])


def second_train(bench: Bench) -> Measured:
    from start_rows import second_train as measured_starts

    starts = measured_starts(bench.log, bench.work, bench.runs)
    note = "{:.1f} s, {:.1f} s, {:.1f} s".format(
        *(median(getattr(start, name) for start in starts) for name in ("second", "first", "torch"))
    )
    row = "a second `train`, another learning rate, to its first step"
    return Measured(
        [
            Figure(row, "the first, to the same point", [s.second / s.first for s in starts], at_most=0.2, note=note),
            Figure("–", "`import torch`, its time", [s.second / s.torch for s in starts], at_most=1.7),
        ]
    )


def _trained_run(bench: Bench) -> tuple[Path, Path]:
    """A finished run on the log, and the test rows as Parquet with every value a string; made once for all rows."""
    import polars as pl
    from whole_row import run_command

    folder = bench.work.parent / "trained"
    rows, run = folder / "test.parquet", folder / "runs" / "scoring" / "latest"
    if not run.exists():
        recipe = write_recipe(folder / "scoring.yaml", bench.log)
        run_command([WIDEDEEP, "train", recipe, "--work", folder])
        strings = dict.fromkeys(CATEGORICAL, pl.String)
        pl.scan_csv(bench.log.test, schema_overrides=strings).sink_parquet(rows)
    return run.resolve(), rows


ROWS: dict[str, Callable[[Bench], Measured]] = {
    "ingest": ingest,
    "encode": encode,
    "cross-cells": cross_cells,
    "train": train,
    "large-tables": large_tables,
    "memory": memory,
    "wide": wide,
    "scoring": scoring,
    "whole": whole,
    "growth": growth,
    "help": help_start,
    "cold-scoring": cold_scoring,
    "second-train": second_train,
}
