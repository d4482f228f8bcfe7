"""Where the time of scoring a Parquet table goes: microseconds of the processor a row for each piece of work, done alone.

POLARS_MAX_THREADS=1 python tests/benchmarks/profile_scoring.py RUN TABLE.parquet
"""

import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from widedeep.reporting import Reporter
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scored_blocks import PART_ROWS
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import Tally


def _each(function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    return list(map(function, *arguments))


def profile(run: Path, table: Path) -> dict[str, float]:
    """Piece of work → seconds of the processor a row, on one thread of torch; the least of three rounds."""
    torch.set_num_threads(1)
    scorer, spent = Scorer.load(run), dict[str, list[float]]()

    def timed(name: str, call: Callable[[], list[Any]]) -> list[Any]:
        started = time.process_time()
        result = call()
        spent.setdefault(name, []).append(time.process_time() - started)
        return result

    num_rows = 0
    for _ in range(3):
        rows = InputRows(scorer, [table], input_format=None, keep=(), labelled=False, reporter=Reporter())
        read = timed("reading, texts trimmed, and typing", partial(list, rows))
        parts = [part for _, typed in read for part in typed.iter_slices(PART_ROWS)]
        encoded = timed("encoding", partial(_each, scorer.encode_by_query, parts))
        tally = Tally(scorer.plan)
        timed("counting", partial(_each, partial(tally.count, scorer.plan), parts, [done[3] for done in encoded]))
        timed("forward", partial(_each, scorer.scores_of, *zip(*(done[:3] for done in encoded), strict=True)))
        num_rows = sum(len(part) for part in parts)
    return {name: min(seconds) / num_rows for name, seconds in spent.items()}


if __name__ == "__main__":
    for piece, seconds in profile(Path(sys.argv[1]), Path(sys.argv[2])).items():
        print(f"{piece}: {seconds * 1e6:.2f} us a row")
