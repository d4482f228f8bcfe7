"""Measures what a request of few rows waits for its scores, before and after, and writes results/latency.md.

    python tests/benchmarks/latency.py RUN LOG.csv [--rounds 300]

RUN is a finished run of `wide_deep`, LOG.csv rows for it, of which requests of 1 to 200 lines of NDJSON are made. The
model's own forward, the way of files (Polars queries, the only way before) and the way of few rows take turns, in one
thread of one process, so that whatever else the machine does strikes all three. Then a coprocess answers row by row.

On a machine with other work a p99 is what that work leaves. `chrt -f 1 taskset -c 0` before the command gives it a core,
for half a minute, whenever it wants it.
"""

import argparse
import datetime
import gc
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from machine import machine_facts

from widedeep.scoring.few_rows import RowScorer
from widedeep.scoring.scorer import Scorer
from widedeep.source.json_blocks import read_json_blocks
from widedeep.source.json_rows import columns_of_lines
from widedeep.source.streams import ByteStream
from widedeep.training.bags import bag_of

SIZES = (1, 10, 50, 200)
TARGETS = {1: 1.5, 200: 3.5}
PIPE_TARGET = 3.0
COMMAND = "python tests/benchmarks/latency.py RUN LOG.csv"
RESULT = Path(__file__).parent / "results" / "latency.md"
Times = dict[str, list[tuple[float, float]]]
"""Way → (seconds on the wall, seconds of computing by the process) of each request."""


def request_times(scorer: Scorer, lines: Sequence[bytes], num_rows: int, rounds: int) -> Times:
    """Seconds of each way, `rounds` times, the three taking turns; consecutive requests have other rows."""
    typing = scorer.typing(labelled=False)
    few = RowScorer.of(scorer, typing)
    assert few is not None, "the recipe's rows cannot be taken one by one"
    columns, settings = few.columns, scorer.recipe.data.format
    times: Times = {"forward": [], "before": [], "after": []}

    def before(request: Sequence[bytes]) -> object:
        content = b"\n".join(request) + b"\n"
        with ByteStream(io.BytesIO(content), "rows") as stream:
            blocks = read_json_blocks(stream, settings, columns, name="rows", block_bytes=len(content) + 1)
            return [scorer.score_by_query(typing.apply(block)) for block in blocks]

    def after(request: Sequence[bytes]) -> object:
        raw = columns_of_lines(request, columns)
        assert raw is not None
        return few.score(raw, len(request))

    for number in range(rounds):
        at = number * num_rows % (len(lines) - num_rows + 1)
        request = lines[at : at + num_rows]
        raw = columns_of_lines(request, columns)
        encoded = None if raw is None else few.encoded(raw, num_rows)
        assert encoded is not None, "a row is not plain"
        (inputs, _) = encoded
        indices, numerics = torch.from_numpy(inputs.indices), torch.from_numpy(inputs.numerics)
        bags = [bag_of(column, scorer.device) for column in inputs.lists]
        with torch.inference_mode():
            times["forward"].append(_seconds(lambda: torch.sigmoid(scorer.network(indices, numerics, bags))))  # noqa: B023
        times["after"].append(_seconds(lambda: after(request)))  # noqa: B023
        if number % 5 == 0:
            times["before"].append(_seconds(lambda: before(request)))  # noqa: B023
    return times


def pipe_times(run: Path, lines: Sequence[bytes]) -> list[float]:
    """Seconds from writing a line to having read its score, of `predict --line-buffered` in a process of its own."""
    program = "from widedeep_cli.main import main; main()"
    command = [sys.executable, "-c", program, "predict", str(run), "-", "-o", "-", "--line-buffered"]
    seconds = []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number, line in enumerate(lines):
            started = time.perf_counter()
            process.stdin.write(line + b"\n")
            process.stdin.flush()
            process.stdout.readline()
            if number == 0:
                process.stdout.readline()  # the first line of answers is the header
            seconds.append(time.perf_counter() - started)
        process.stdin.close()
    return seconds[1:]  # the first one waits for the process to start


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    started, computed = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - started, time.process_time() - computed


def _quantile(seconds: Sequence[float], share: float) -> float:
    return float(np.quantile(seconds, share)) * 1e3


def report(run: Path, times: dict[int, Times], pipe: Sequence[float]) -> str:
    """The page of results."""
    facts = machine_facts()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    is_first = os.sched_getscheduler(0) == os.SCHED_FIFO
    run_as = (
        f"`chrt -f 1 taskset -c 0 {COMMAND}`, so that no other work makes it wait"
        if is_first
        else f"`{COMMAND}`, beside whatever else runs: on a busy machine a p99 is what that leaves"
    )
    lines = [
        "# Latency of few rows",
        "",
        f"{datetime.date.today().isoformat()}; {facts['machine']}; {facts['system']}; {facts['libraries']};",
        f"commit {facts['commit']}; load of the machine (1, 5, 15 minutes) {load}.",
        f"Command: {run_as}; RUN is trained by the recipe that `widedeep synth` writes, LOG.csv its log.",
        "",
        "Lines of NDJSON in, scores out, in one thread of a process that has loaded the run; the model is the sample log's",
        "`wide_deep`. The three ways take turns. `p50` is the median time on the wall; `computing` is the median of the time",
        "that the process computed, which other work on the machine does not lengthen by making it wait.",
        "",
        "| rows | time | model's forward ms | before ms | after ms | before / after | after / forward | target |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for num_rows, of_size in times.items():
        target = f"{TARGETS[num_rows]}" if num_rows in TARGETS else ""
        for clock, title in enumerate(("p50", "computing")):
            forward, before, after = (
                _quantile([both[clock] for both in of_size[name]], 0.5) for name in ("forward", "before", "after")
            )
            figures = f"{forward:.3f} | {before:.2f} | {after:.3f} | {before / after:.1f} | {after / forward:.2f}"
            lines.append(f"| {num_rows} | {title} | {figures} | {target} |")
    forward = _quantile([wall for wall, _ in times[1]["forward"]], 0.5)
    quantiles = {title: _quantile(pipe, share) for title, share in (("p10", 0.1), ("p50", 0.5), ("p99", 0.99))}
    lines += [
        "",
        "`predict RUN - -o - --line-buffered`, a line of NDJSON written and its score read: "
        + ", ".join(f"{title} {value:.2f} ms" for title, value in quantiles.items())
        + f" ({len(pipe)} rows),",
        f"that is {quantiles['p50'] / forward:.1f} and {quantiles['p99'] / forward:.1f} times the forward's p50 of one row "
        f"(target of the p99: {PIPE_TARGET:.0f}). The forward's",
        f"own p99 of one row was {_quantile([wall for wall, _ in times[1]['forward']], 0.99):.2f} ms in the same minutes.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("run", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--output", type=Path, default=RESULT)
    arguments = parser.parse_args()
    run = arguments.run.resolve()
    lines = pl.read_csv(arguments.log).tail(1000).write_ndjson().encode().splitlines()
    pipe = pipe_times(run, lines)
    torch.set_num_threads(1)
    scorer = Scorer.load(run)
    gc.collect()
    gc.freeze()
    request_times(scorer, lines, SIZES[-1], 10)
    times = {num_rows: request_times(scorer, lines, num_rows, arguments.rounds) for num_rows in SIZES}
    page = report(run, times, pipe)
    arguments.output.write_text(page)
    print(page)


if __name__ == "__main__":
    main()
