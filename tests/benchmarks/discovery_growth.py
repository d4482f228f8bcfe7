"""How the time of discovery grows with rows and pairs, and what memory it takes, on a drawn log. To run it:

    python tests/benchmarks/discovery_growth.py RECIPE

RECIPE is that of a log with many columns, such as one from `widedeep synth --shape criteo`. Run it on a quiet machine.
"""

import itertools
import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from widedeep.discovery.discover import discover
from widedeep.discovery.fields import CrossField, read_train_rows
from widedeep.discovery.fold_models import FoldModels
from widedeep.discovery.screen import Residual, Screen
from widedeep.memory.additive import Target
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter

ROWS = (125_000, 250_000, 500_000, 1_000_000)
FIELDS = (10, 20, 39, 78, 156, 312)
ROWS_FOR_FIELDS = 100_000


def screened(fields: list[CrossField], target: Target, rows: int) -> tuple[int, float]:
    """Pairs, and the seconds that their scores take, without main effects and null."""
    screen = Screen(fields, np.arange(rows), np.inf)
    residual = Residual.at(target.gather(screen.rows), FoldModels([], target.gather(screen.rows), None).logit)
    pairs = [screen.first_cut(names) for names in itertools.combinations(screen.fields, 2)]
    screen.scores(pairs[:2], residual)
    started = time.monotonic()
    screen.scores(pairs, residual)
    return len(pairs), time.monotonic() - started


def main(path: Path) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as work:
        loaded = load_recipe(path)
        typed = ingest(loaded, Path(work), Reporter()).path
        data = read_train_rows(loaded.recipe, typed)
        print("| fields | pairs | rows | screening, s |\n|---|---|---|---|")
        for rows in [*(one for one in ROWS if one < data.num_rows), data.num_rows]:
            pairs, seconds = screened(list(data.fields), data.target, rows)
            print(f"| {len(data.fields)} | {pairs:,} | {rows:,} | {seconds:.1f} |", flush=True)
        for count in FIELDS:
            copies = [replace(field, name=f"{field.name}/{number}") for number in range(8) for field in data.fields]
            pairs, seconds = screened(copies[:count], data.target, ROWS_FOR_FIELDS)
            print(f"| {count} | {pairs:,} | {ROWS_FOR_FIELDS:,} | {seconds:.1f} |", flush=True)
        del data, copies
        found = discover(loaded.recipe, typed, budget=None, fdr=0.05, reporter=Reporter())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f"\nwhole discovery: {found.train_rows:,} train rows, {found.pairs} pairs and {found.triples} triples, each "
            f"with its null, {len(found.kept)} crosses kept: {found.seconds:.0f} s; peak {peak:.2f} GiB, ingest included"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
