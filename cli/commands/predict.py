"""`widedeep predict`: scores for any table, from files or stdin, to a file or stdout."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer

from widedeep.api.runs import run_path
from widedeep.errors import DataError, UsageError
from widedeep.figures import odd_value_lists
from widedeep.files import refuse_file_of_a_run
from widedeep.recipe.kinds import FileKind

from .. import without_collecting
from ..options import JsonOption, RunArgument, TableOption, TrustOption, WorkersOption, WorkOption, side_table_files
from ..results import print_facts, print_json, stdout_bytes


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
    formats: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="KEY=VALUE",
            help="Read delimited text otherwise than in training: separator, encoding, header, columns, skip_lines, "
            "comment, quote or escape, as in data.format. May be repeated.",
        ),
    ] = None,
    table: TableOption = None,
    trust: TrustOption = False,
    output_format: Annotated[
        Literal["csv", "ndjson", "parquet"] | None,
        typer.Option("--output-format", help="Default: by the ending of OUT; csv on stdout."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace an output that exists; score rows past a limit of refusal.")
    ] = False,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="FIELD.MEASURE=SHARE",
            help="Refuse (exit code 7) past this share: of rows with a missing or an unseen value beyond the usual "
            "share, or of a shift; MEASURE=SHARE is for all fields, =none for no limit. May be repeated.",
        ),
    ] = None,
    warn: Annotated[
        list[str] | None,
        typer.Option("--warn", metavar="FIELD.MEASURE=SHARE", help="Warn past this share; may be repeated."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE.json", help="Write what the rows and the scores looked like."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option("--against", metavar="FILE.json", help="Compare with an earlier report, such as yesterday's."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option("--log", metavar="FILE.jsonl", help="Append a line on this command: rows, seconds, limits, exit."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait while another process writes OUT.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing when all is well.")] = False,
    line_buffered: Annotated[
        bool,
        typer.Option(
            "--line-buffered",
            help="Answer: write each row's score before the next row is read. For `-` and `-o -`, NDJSON or CSV.",
        ),
    ] = False,
    workers: WorkersOption = None,
    work: WorkOption = Path(),
    as_json: JsonOption = False,
) -> None:
    """Score any table with a run, row by row, in input order.

    Where OUT is a folder (it exists as one, or ends in /), each file gets one of its own there, and _SUCCESS comes
    last; started again, the command does what is missing. OUT may be a URL, such as s3://BUCKET/scores.parquet.
    """
    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    if log is not None:
        _check_log(log, [*files, *(text.partition("=")[2] for text in table or ())], [output, report, against])
    with _logged(log, run) as facts:
        if output == "-" and as_json:
            raise UsageError("`-o -` writes the scores to stdout, where --json would write its object: drop one")
        if line_buffered and (files != ["-"] or output != "-"):
            raise UsageError("--line-buffered answers a pipe: give - as the only FILE, and -o -")
        tables = side_table_files(table)
        refuse, warning = _limits(limit, "--limit"), _limits(warn, "--warn")
        is_remote = "://" in output
        is_folder = output != "-" and not is_remote and (output.endswith("/") or os.path.isdir(output))
        with without_collecting():
            from widedeep.scoring.outputs import format_of

        target = stdout_bytes() if output == "-" else Path(output)
        chosen_format = output_format if is_folder or is_remote else output_format or format_of(target)
        # Only now: a bad command line need not wait for torch.
        with without_collecting():
            from widedeep.scoring.guard import GuardOptions
            from widedeep.scoring.predict import ScoringOptions, predict_files

        reporter = ConsoleReporter(quiet=quiet)
        options = ScoringOptions(
            input_format,
            chosen_format,
            keep or (),
            tables,
            force,
            GuardOptions(warning, refuse, report, against, force),
            wait,
            formats or (),
            workers,
            work,
        )
        scored = run_path(run, work)
        facts["run"] = str(scored)
        if is_remote:
            from widedeep.scoring.remote import predict_to_store  # most outputs are files of this machine

            result = predict_to_store(scored, _inputs(files), output, options, reporter, trust=trust)
        elif is_folder and isinstance(target, Path):
            from widedeep.scoring.folder import predict_folder  # most outputs are files

            result = predict_folder(scored, _inputs(files), target, options, reporter, trust=trust)
        else:
            result = predict_files(
                scored,
                _inputs(files),
                target,
                trust=trust,
                line_buffered=line_buffered,
                reporter=reporter,
                **vars(options),
            )
        facts |= {"rows": result.rows, "limits": [breach.to_json() for breach in result.breaches]}
    odd_values = odd_value_lists(result.missing, result.unseen)
    path = output if is_remote else result.path
    if as_json:
        found = {"rows": result.rows, "path": path, "missing": result.missing, "unseen": result.unseen}
        print_json({**found, "limits": facts["limits"]})
    elif output == "-":
        for title, fields in odd_values.items():
            reporter.note(f"{title}: {', '.join(fields)}")
    elif not quiet:
        print_facts({"rows": f"{result.rows:,}", **odd_values, "path": str(path)})


@contextmanager
def _logged(log: Path | None, run: str) -> Iterator[dict[str, Any]]:
    if log is None:
        yield {}
        return
    from ..command_log import logged  # most commands write no log

    with logged(log, run) as facts:
        yield facts


def _check_log(log: Path, read: Sequence[str], others: Sequence[str | Path | None]) -> None:
    """Raise UsageError if the lines of the log would go into a file that is read, or another that is written."""
    from widedeep.source.paths import refuse_as_output  # most commands write no log

    refuse_file_of_a_run(log)
    if not log.exists() or log.is_file():
        for other in others:
            if other not in (None, "-") and os.path.realpath(other) == os.path.realpath(log):
                raise UsageError(f"--log {log}: the command needs that file for something else: name another")
    for given in read:
        with suppress(DataError):  # of what is gone the log shall tell
            refuse_as_output(log, [sys.stdin.buffer if given == "-" and sys.stdin is not None else given])


def _limits(options: Sequence[str] | None, option: str) -> dict[str, float | None]:
    """Key → limit, from the options `FIELD.MEASURE=SHARE`. Raises UsageError for one that is no share."""
    limits: dict[str, float | None] = {}
    for text in options or ():
        key, _, share = text.rpartition("=")
        try:
            limits[key] = None if share == "none" else float(share)
        except ValueError:
            limits[key] = -1.0
        chosen = limits[key]
        if not key or (chosen is not None and not 0.0 <= chosen <= 1.0):
            raise UsageError(
                f"{option} {text}: must be FIELD.MEASURE=SHARE, with a share from 0 to 1 or none, as in "
                "site_id.unseen=0.2"
            )
    return limits


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
