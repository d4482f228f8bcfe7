"""`widedeep eval`: the metrics of a run, on one of its splits or on new labelled files."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from widedeep.errors import UsageError

from .lookup import open_run
from .options import JsonOption, RunArgument, TableOption, WaitOption, WorkOption, side_table_files
from .results import counts, print_facts, print_json


def evaluate(
    run: RunArgument,
    files: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="New labelled files, or their URLs.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["train", "valid", "test"] | None, typer.Option("--split", help="One of the run's own splits.")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="RUN2", help="Another run: how do they differ on the same rows?"),
    ] = None,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COLUMN", help="With --against: look at each of its values; may be repeated."),
    ] = None,
    table: TableOption = None,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on one of its splits, or on new labelled files; alone, or against another run."""
    from .against import show_comparison  # not at the top: `--help` should not wait for Rich
    from .console import ConsoleReporter, print_metrics

    if files and split is not None:
        raise UsageError(f"--split {split} is a part of the run's own data: give it, or files, not both")
    tables = side_table_files(table)
    if tables and not files:
        raise UsageError("--table says where a side table of new files lies: name the files to measure on")
    if slices and against is None:
        raise UsageError("--slice says where two runs may differ: name the other with --against")
    if against is not None:
        show_comparison(
            run,
            against,
            files or (),
            split=split,
            slices=slices or (),
            tables=tables,
            work=work,
            wait=wait,
            as_json=as_json,
        )
        return
    from widedeep.pipeline.experiment import evaluate_run

    reporter = ConsoleReporter()
    run_path = open_run(run, work)
    result = evaluate_run(
        run_path, files or (), split=split, work_dir=work, reporter=reporter, tables=tables, wait=wait
    )
    if as_json:
        print_json(
            {
                "metrics": result.metrics,
                "rows": result.rows,
                "split": result.split,
                "missing": result.missing,
                "unseen": result.unseen,
                "run": run_path,
            }
        )
        return
    print_metrics({result.split or "files": result.metrics})
    print_facts({"rows": f"{result.rows:,}", **counts(result.missing, result.unseen), "run": str(run_path)})
