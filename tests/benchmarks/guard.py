"""What the guard of `predict` tells: planted drifts, and no false alarm. To run it:

    python tests/benchmarks/guard.py drift FOLDER
    python tests/benchmarks/guard.py alarms WORK RECIPE…
    python tests/benchmarks/guard.py cost RUN FILE [REPEATS]

`drift` draws a sample log into FOLDER, trains on it and scores its last rows, drifted in one way at a time. `alarms`
judges the valid and test rows of trained runs in WORK, whole, and 100 draws with replacement of as many rows and of 10
to 1,000 rows. `cost` scores FILE with the guard and without, in turns.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

import widedeep as wd
from widedeep.pipeline.experiment import train
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import WARNING_LIMITS
from widedeep.runs import RunDirectory, find_run
from widedeep.scoring import predict as scoring
from widedeep.scoring.guard import Guard, GuardOptions
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues, Tally
from widedeep.synth.sample_log import write_sample_log
from widedeep.table.parts import coded_blocks

Drift = Callable[[pl.DataFrame], pl.DataFrame]
_MOST_ROWS = 40_000
"""Rows of a split that `alarms` scores."""


class Heard(wd.Reporter):
    """Keeps warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def _every(n: int, then: pl.Expr, column: str) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) % n == 0).then(then).otherwise(pl.col(column)).alias(column)


def _ends_swapped(values: pl.Series) -> pl.Series:
    """The commonest value in place of the rarest, and the other way about."""
    by_count = values.value_counts(sort=True)[values.name]
    return values.replace({by_count[0]: by_count[-1], by_count[-1]: by_count[0]})


DRIFTS: dict[str, tuple[str, Drift]] = {
    "a value renamed": ("device", lambda r: r.with_columns(pl.col("device").replace({"phone": "Phone"}))),
    "two values swapped": ("device", lambda r: r.with_columns(_ends_swapped(r["device"]))),
    "two values swapped whose shares are 2 to 1": ("slot", lambda r: r.with_columns(_ends_swapped(r["slot"]))),
    "a new country at 10%": ("country", lambda r: r.with_columns(_every(10, pl.lit("zz"), "country"))),
    "a known country instead of all others": ("country", lambda r: r.with_columns(country=pl.lit(r["country"][0]))),
    "ids with a new prefix": ("advertiser", lambda r: r.with_columns(advertiser=pl.lit("x") + pl.col("advertiser"))),
    "ids in capitals": ("publisher", lambda r: r.with_columns(pl.col("publisher").str.to_uppercase())),
    "all columns shifted by one": (
        "browser",
        lambda r: r.with_columns(
            pl.col("slot").alias("browser"), pl.col("device").alias("slot"), pl.col("browser").alias("format")
        ),
    ),
    "one column in place of another": ("city", lambda r: r.with_columns(city=pl.col("publisher"))),
    "a column all missing": ("device", lambda r: r.with_columns(device=pl.lit(None, pl.String))),
    "nulls in a third": ("format", lambda r: r.with_columns(_every(3, pl.lit(None), "format"))),
    "a number missing in a third": ("price", lambda r: r.with_columns(_every(3, pl.lit(None), "price"))),
    "a unit x100": ("price", lambda r: r.with_columns(pl.col("price") * 100)),
    "years as months": ("age", lambda r: r.with_columns(pl.col("age") * 12)),
    "hours as minutes": ("hours_since_visit", lambda r: r.with_columns(pl.col("hours_since_visit") * 60)),
    "nulls as -1": ("hours_since_visit", lambda r: r.with_columns(pl.col("hours_since_visit").fill_null(-1.0))),
    "a number that stands still": ("quality", lambda r: r.with_columns(quality=pl.lit(0.5))),
    "a number of another sign": ("quality", lambda r: r.with_columns(-pl.col("quality"))),
    "another separator of lists": (
        "tags",
        lambda r: r.with_columns(pl.col("tags").str.replace_all("|", ";", literal=True)),
    ),
    "one part of the traffic": ("device", lambda r: r.filter(pl.col("device") == "phone")),
}
"""What happens to the rows, and the field whose name must be told. The last case is yesterday's file again."""


def drift(folder: Path, rows: int = 20_000, epochs: int = 1) -> dict[str, tuple[str, list[str]]]:
    """Case → (the field to name, what was told), for rows that the guard is silent on undrifted."""
    folder.mkdir(parents=True, exist_ok=True)
    write_sample_log(folder, rows=rows, seed=1, reporter=wd.Reporter())
    loaded = load_recipe(folder / "recipe.yaml", overrides=[f"training.epochs={epochs}"])
    run = train(loaded, folder, wd.Reporter()).run
    new = pl.read_csv(folder / "log.csv", try_parse_dates=False).tail(rows // 10)
    told = {"nothing": ("", _told(run, new, folder))}
    for name, (field, change) in DRIFTS.items():
        told[name] = (field, _told(run, change(new), folder))
    told["yesterday's file again"] = ("the same rows", _told(run, new, folder, against=folder / "report.json"))
    return told


def _told(run: Path, rows: pl.DataFrame, folder: Path, against: Path | None = None) -> list[str]:
    rows.write_csv(folder / "new.csv")
    heard = Heard()
    report = None if against is not None or (folder / "report.json").exists() else folder / "report.json"
    scoring.predict_files(
        run,
        [folder / "new.csv"],
        folder / "scores.csv",
        force=True,
        guard=GuardOptions(report=report, against=against, force=True),
        reporter=heard,
    )
    return heard.warnings


def alarms(work: Path, recipe: str, draws: int = 100) -> dict[str, tuple[int, int]]:
    """Split → (draws that were told of, all draws), of the valid and test rows of the recipe's latest run."""
    run = find_run(str(work / "runs" / recipe / "latest"), work)
    scorer = Scorer.load(run)
    ingested = Workspace(work).stage_path("ingest", RunDirectory(run).manifest()["keys"]["ingest"])
    counts = {}
    draw = np.random.default_rng(5)
    for split in ("valid", "test"):
        if not (ingested / split).exists():
            continue
        rows = pl.concat([block.decoded() for block in coded_blocks(ingested, split)])
        if rows.height > _MOST_ROWS:
            rows = rows.sample(_MOST_ROWS, seed=1)
        scores, encoded = scorer.score(rows)
        choices = [np.arange(rows.height)]
        choices += [draw.integers(0, rows.height, rows.height) for _ in range(draws)]
        choices += [draw.integers(0, rows.height, draw.integers(10, 1000)) for _ in range(draws)]
        guard, told = Guard(scorer, run, GuardOptions(warn=WARNING_LIMITS, force=True)), 0
        for chosen in choices:
            tally, heard = Tally(scorer.plan), Heard()
            tally.add_part(tally.count(scorer.plan, rows[chosen], encoded[chosen]), scores[chosen])
            guard.judge(tally, heard)
            told += bool(heard.warnings)
            print(*heard.warnings[:1], file=sys.stderr, sep="\n", end="")
        counts[split] = (told, len(choices))
    return counts


def cost(run: Path, file: Path, repeats: int = 7) -> list[tuple[float, float]]:
    """Seconds of computing without the guard and with it, in turns."""
    turns = []

    class Nothing(Guard):
        def __init__(self, *_: object) -> None:
            pass

        def judge(self, *_: object) -> list[object]:  # type: ignore[override]
            return []

    def timed(*, guarded: bool) -> float:
        scoring.Guard = Guard if guarded else Nothing  # type: ignore[misc]
        scoring.Tally = Tally if guarded else lambda _: OddValues()  # type: ignore[misc, assignment]
        start = time.process_time()
        scoring.predict_files(run, [file], file.with_name("scores.csv"), force=True, reporter=wd.Reporter())
        return time.process_time() - start

    for guarded in (True, False):
        timed(guarded=guarded)  # the first of all is slower
    for number in range(repeats):
        order = (True, False) if number % 2 else (False, True)
        seconds = {guarded: timed(guarded=guarded) for guarded in order}
        turns.append((seconds[False], seconds[True]))
    scoring.Guard, scoring.Tally = Guard, Tally  # type: ignore[misc]
    return turns


if __name__ == "__main__":
    part, place, *rest = sys.argv[1:]
    if part == "drift":
        for name, (field, warnings) in drift(Path(place)).items():
            print(
                f"| {name} | {field} | {'yes' if any(field in w for w in warnings) else 'no'} | {' '.join(warnings)} |"
            )
    elif part == "alarms":
        for recipe in rest:
            for split, (told, draws) in alarms(Path(place), recipe).items():
                print(f"| {recipe} | {split} | {told} | {draws} |", flush=True)
    else:
        turns = cost(Path(place), Path(rest[0]), int(rest[1]) if len(rest) > 1 else 7)
        ratios = [without / guarded for without, guarded in turns]
        # Other work on a core's other thread lengthens the seconds of computing too: the least of them had least of it.
        least = min(without for without, _ in turns) / min(guarded for _, guarded in turns)
        print("median", round(statistics.median(ratios), 3), "of the least", round(least, 3))
        print([round(ratio, 3) for ratio in ratios])
