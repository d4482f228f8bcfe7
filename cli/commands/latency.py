"""`widedeep latency`: how long a request waits for its scores, by rows and threads."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from widedeep.api.runs import run_path

from .. import without_collecting
from ..options import JsonOption, RunArgument, TrustOption, WorkOption
from ..results import print_json


def latency(
    run: RunArgument,
    file: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE", help="Rows to take turns with. Default: the run's golden rows.", show_default=False
        ),
    ] = None,
    trust: TrustOption = False,
    work: WorkOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Measure how long requests of 1 to 1,000 rows wait for their scores, by the threads that share the rows.

    The run is loaded once; each request is lines of NDJSON, of which scores are made. It takes about 15 seconds.
    """
    from ..console import ConsoleReporter, print_comparison  # not at the top: `--help` should not wait for Rich

    path = run_path(run, work)
    with without_collecting():
        from widedeep.scoring.latency import measure_latency  # only now: a bad command line need not wait for torch

    measured = measure_latency(path, file, trust=trust, reporter=ConsoleReporter())
    if as_json:
        print_json({"run": path, "latency": [asdict(request) for request in measured]})
        return
    print_comparison(
        [
            {
                "rows": f"{request.rows:,}",
                "threads": str(request.threads),
                "p50 ms": f"{request.p50_ms:.2f}",
                "p99 ms": f"{request.p99_ms:.2f}",
                "encoding": f"{request.encoding_ms:.2f}",
                "model": f"{request.model_ms:.2f}",
                "rows/s": f"{request.rows_per_second:,.0f}",
            }
            for request in measured
        ]
    )
