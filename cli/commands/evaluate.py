"""`widedeep eval`: the metrics of a run, on one of its splits or on new labelled files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from widedeep.api.runs import check_choice, open_run
from widedeep.errors import UsageError
from widedeep.figures import odd_value_lists

from ..options import (
    JsonOption,
    RunArgument,
    TableOption,
    TrustOption,
    WaitOption,
    WorkersOption,
    WorkOption,
    side_table_files,
)
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.scoring.evaluate import EvalResult


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
        typer.Option(
            "--slice",
            metavar="COLUMN",
            help="Measure at each of its values; with --against, where one run is worse. May be repeated.",
        ),
    ] = None,
    table: TableOption = None,
    trust: TrustOption = False,
    workers: WorkersOption = None,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a run on one of its splits, or on new labelled files; alone, or against another run."""
    from ..console import ConsoleReporter, print_metrics  # not at the top: `--help` should not wait for Rich
    from .against import show_comparison

    tables = side_table_files(table)
    check_choice(files or None, split, tables)
    if against is not None:
        if workers is not None:
            raise UsageError("--workers measures one run: leave it out, or --against")
        show_comparison(
            run,
            against,
            files or (),
            split=split,
            slices=slices or (),
            tables=tables,
            trust=trust,
            work=work,
            wait=wait,
            as_json=as_json,
        )
        return
    opened = open_run(run, work_dir=work, trust=trust)
    if slices:
        from .slices import show_slices  # only here, as above

        show_slices(
            opened,
            files or (),
            slices,
            split=split,
            tables=tables,
            work=work,
            wait=wait,
            workers=workers,
            as_json=as_json,
        )
        return
    from widedeep.pipeline.evaluate import evaluate_run  # only now: torch is slow to import

    result = evaluate_run(
        opened.directory,
        opened.scorer,
        files or (),
        split=split,
        work_dir=work.resolve(),
        reporter=ConsoleReporter(),
        tables=tables,
        wait=wait,
        workers=workers,
    )
    if as_json:
        print_json(as_object(result, opened.path))
        return
    print_metrics({result.split or "files": result.metrics})
    print_facts(facts(result, opened.path))


def as_object(result: "EvalResult", run: Path) -> dict[str, Any]:
    """What `--json` prints of a run that was measured."""
    return {
        "metrics": result.metrics,
        "rows": result.rows,
        "split": result.split,
        "missing": result.missing,
        "unseen": result.unseen,
        "run": run,
    }


def facts(result: "EvalResult", run: Path) -> dict[str, str | Sequence[str]]:
    """The lines below its metrics."""
    return {"rows": f"{result.rows:,}", **odd_value_lists(result.missing, result.unseen), "run": str(run)}
