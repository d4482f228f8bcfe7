"""Do the recipes that `init` suggests stay near the base rate on wide tables of noise, and find what stands among it?

    python tests/benchmarks/wide_tables.py [--tool COMMAND] RESULT.json [ROWS …]

Each table has labels at a rate, and 300 or 3,000 columns of noise, numbers or categories; in some, 20 of the columns say
something. 4,000 test rows lie in a file of their own, so that their log loss is known to about a hundredth. It prints the
table of results/wide_tables.md. COMMAND is the `widedeep` that is measured: give another one to compare with.
"""

import argparse
import json
import math
import shlex
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from click_log import WIDEDEEP
from machine import machine_facts

from widedeep.files import write_json

TEST_ROWS = 4_000
REAL_COLUMNS = 20
REAL_DEVIATION = 0.4
"""Standard deviation, in logits, of what one telling column adds."""
NUM_VALUES = 8


@dataclass(frozen=True)
class WideTable:
    """A table of mostly noise."""

    rows: int
    columns: int
    rate: float
    nature: Literal["number", "category"]
    real: int = 0
    """Columns that say something of the label; the others are noise."""
    seed: int = 17

    def frames(self) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows to train and choose by, and rows to test on."""
        random = np.random.default_rng([self.seed, self.rows, self.columns, int(1e3 * self.rate), self.real])
        total = self.rows + TEST_ROWS
        logit = np.full(total, math.log(self.rate / (1.0 - self.rate)))
        columns: dict[str, pl.Series] = {}
        texts = pl.Series([f"v{value}" for value in range(NUM_VALUES)])
        for number in range(self.columns):
            if self.nature == "number":
                values = random.standard_normal(total).astype(np.float32).round(3)
                effect = values * random.choice((-REAL_DEVIATION, REAL_DEVIATION))
                columns[f"x{number}"] = pl.Series(values)
            else:
                codes = random.integers(0, NUM_VALUES, total)
                effect = random.normal(0.0, REAL_DEVIATION, NUM_VALUES)[codes]
                columns[f"x{number}"] = texts.gather(pl.Series(codes))
            # Not the first ones: what comes first in the file must not matter.
            if self.real and number % (self.columns // self.real) == 7:
                logit += effect
        clicks = random.random(total) < 1.0 / (1.0 + np.exp(-logit))
        frame = pl.DataFrame({**columns, "click": clicks.astype(np.int8)})
        return frame.head(self.rows), frame.tail(TEST_ROWS)


@dataclass(frozen=True)
class Measured:
    """What came of one table."""

    table: WideTable
    base: float
    """Log loss on the test rows of always predicting the rate of the other rows."""
    log_loss: float
    auc: float
    seconds: float
    warned: bool
    """Whether the run says that its model is worse than a constant."""


def tables(rows: Sequence[int]) -> Iterator[WideTable]:
    """All tables, those of noise first."""
    for num_rows in rows:
        for columns in (300, 3_000):
            for rate in (0.5, 0.05):
                for nature in ("number", "category"):
                    yield WideTable(num_rows, columns, rate, nature)  # type: ignore[arg-type]
    for num_rows in rows:
        for nature in ("number", "category"):
            yield WideTable(num_rows, 3_000, 0.5, nature, REAL_COLUMNS)  # type: ignore[arg-type]


def measure(table: WideTable, tool: Sequence[str]) -> Measured:
    """Train the suggested recipe, with nothing changed."""
    with tempfile.TemporaryDirectory(prefix="wide-tables-") as name:
        folder = Path(name)
        train, test = table.frames()
        train.write_parquet(folder / "log.parquet")
        test.write_parquet(folder / "test.parquet")
        started = time.perf_counter()
        _run(folder, *tool, "init", "log.parquet", "--test", "test.parquet", "--label", "click", "-o", "wide.yaml")
        result = json.loads(_run(folder, *tool, "train", "wide.yaml", "--json"))
        seconds = time.perf_counter() - started
        metrics = result["metrics"]["test"]
        warnings = {warning["kind"] for warning in result.get("warnings", ())}
    rate = float(train["click"].mean() or 0.0)  # type: ignore[arg-type]
    share = float(test["click"].mean() or 0.0)  # type: ignore[arg-type]
    base = -share * math.log(rate) - (1.0 - share) * math.log1p(-rate)
    return Measured(table, base, metrics["log_loss"], metrics["auc"], seconds, "worse_than_constant" in warnings)


def _run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}: {done.stderr[-2000:]}")
    return done.stdout


def line(measured: Measured) -> str:
    """A row of the table."""
    table = measured.table
    real = f", {table.real} of them telling" if table.real else ""
    return (
        f"| {table.rows:,} | {table.columns:,} {table.nature}{real} | {table.rate} | {measured.base:.4f} | "
        f"{measured.log_loss:.4f} | {measured.log_loss / measured.base:.3f} | {measured.auc:.3f} | "
        f"{'yes' if measured.warned else ''} | {measured.seconds:.0f} |"
    )


def main() -> None:
    """Measure all tables and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default=str(WIDEDEEP))
    parser.add_argument("result", type=Path)
    parser.add_argument("rows", type=int, nargs="*", default=[200, 2_000, 20_000])
    arguments = parser.parse_args()
    print("| rows | columns | rate | base | log loss | log loss / base | AUC | told | seconds |\n|" + "---|" * 9)
    lines = []
    for table in tables(arguments.rows):
        lines.append(measure(table, shlex.split(arguments.tool)))
        print(line(lines[-1]), flush=True)
        write_json(arguments.result, {**machine_facts(), "tables": [asdict(measured) for measured in lines]})


if __name__ == "__main__":
    main()
