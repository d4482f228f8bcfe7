"""`widedeep predict`: scores for any table, from files or stdin, to a file or stdout."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

import typer

from widedeep.api.runs import run_path
from widedeep.errors import UsageError
from widedeep.figures import odd_value_lists
from widedeep.recipe.kinds import FileKind

from .options import ForceOption, JsonOption, RunArgument, TableOption, TrustOption, WorkOption, side_table_files
from .results import print_facts, print_json, stdout_bytes


def predict(
    run: RunArgument,
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Tables to score, or their URLs; - reads stdin.")],
    output: Annotated[str, typer.Option("-o", "--output", metavar="OUT", help="Where scores go; - writes stdout.")],
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="COLUMN", help="Copy this column beside the score; may be repeated."),
    ] = None,
    input_format: Annotated[
        FileKind | None,
        typer.Option("--input-format", help="Default: by the file's ending, as in the recipe."),
    ] = None,
    table: TableOption = None,
    trust: TrustOption = False,
    output_format: Annotated[
        Literal["csv", "ndjson", "parquet"] | None,
        typer.Option("--output-format", help="Default: by the ending of OUT; csv on stdout."),
    ] = None,
    line_buffered: Annotated[
        bool,
        typer.Option(
            "--line-buffered",
            help="Answer: write each row's score before the next row is read. For `-` and `-o -`, NDJSON or CSV.",
        ),
    ] = False,
    force: ForceOption = False,
    work: WorkOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Score any table with a run, row by row, in input order."""
    from .console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    if output == "-" and as_json:
        raise UsageError("`-o -` writes the scores to stdout, where --json would write its object: drop one of them")
    if line_buffered and (files != ["-"] or output != "-"):
        raise UsageError("--line-buffered answers a pipe: give - as the only FILE, and -o -")
    tables = side_table_files(table)
    from widedeep.scoring.outputs import format_of

    target = stdout_bytes() if output == "-" else Path(output)
    chosen_format = output_format or format_of(target)
    from widedeep.scoring.predict import predict_files  # only now: a bad command line need not wait for torch

    reporter = ConsoleReporter()
    result = predict_files(
        run_path(run, work),
        _inputs(files),
        target,
        input_format=input_format,
        output_format=chosen_format,
        keep=keep or (),
        tables=tables,
        force=force,
        trust=trust,
        line_buffered=line_buffered,
        reporter=reporter,
    )
    odd_values = odd_value_lists(result.missing, result.unseen)
    if as_json:
        print_json({"rows": result.rows, "path": result.path, "missing": result.missing, "unseen": result.unseen})
    elif output == "-":
        for title, fields in odd_values.items():
            reporter.note(f"{title}: {', '.join(fields)}")
    else:
        print_facts({"rows": f"{result.rows:,}", **odd_values, "path": str(result.path)})


def _inputs(files: Sequence[str]) -> list[Path | str | BinaryIO]:
    if files.count("-") > 1:
        raise UsageError("`-` (stdin) can be read once only: it is given twice")
    if "-" in files and sys.stdin is None:
        raise UsageError("`-` asks for stdin, which is closed: name a file, or pipe rows in")
    return [_stdin_bytes() if file == "-" else file for file in files]


def _stdin_bytes() -> BinaryIO:
    # A second buffer on stdin. When the process ends, the reading thread may still wait in it; on `sys.stdin` itself,
    # which Python closes at exit, that would make Python wait too and abort.
    try:
        return open(sys.stdin.fileno(), "rb", closefd=False)
    except OSError:
        return sys.stdin.buffer
