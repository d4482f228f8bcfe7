"""`widedeep synth`: a sample log with planted structure, and its recipe."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from widedeep.errors import OutputExistsError, UsageError, WriteError
from widedeep.files import replacing_directory

from ..options import ForceOption, JsonOption
from ..results import print_facts, print_json


def synth(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="The folder to write.", show_default=False)
    ],
    rows: Annotated[int, typer.Option("--rows", min=100, max=10**11, metavar="N", help="Rows of the log.")] = 200_000,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="S", help="Equal seeds give equal bytes.")] = 0,
    shape: Annotated[
        Literal["clicks", "criteo"],
        typer.Option("--shape", help="A click log with times and tags, or Criteo's 13 counts and 26 hashed columns."),
    ] = "clicks",
    crosses: Annotated[
        int | None, typer.Option("--crosses", min=0, metavar="N", help="criteo: planted pairs; 8 by default.")
    ] = None,
    low_rank: Annotated[
        int | None, typer.Option("--low-rank", min=0, metavar="N", help="criteo: low-rank pairs; 4 by default.")
    ] = None,
    triples: Annotated[
        int | None, typer.Option("--triples", min=0, metavar="N", help="criteo: planted triples; 0 by default.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option("--rate", metavar="R", help="Share of positive rows; 0.3 by default, for criteo 0.38."),
    ] = None,
    lift: Annotated[
        float,
        typer.Option(
            "--lift",
            metavar="L",
            help="Give a few values up to L times the odds of the rest (of rare clicks: L times the clicks); 1 for "
            "none.",
        ),
    ] = 1.0,
    new_users: Annotated[
        float | None,
        typer.Option(
            "--new-users",
            metavar="SHARE",
            help="clicks: users who come and go, so that this share of the test rows has a user new since training.",
        ),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            "--days", min=2, metavar="N", help="clicks: a log of N days, whose users, items and effects move."
        ),
    ] = None,
    drift: Annotated[
        float | None,
        typer.Option(
            "--drift",
            min=0.0,
            metavar="D",
            help="With --days, how far effects move: 0 not at all, 1 (default) until the last have nothing to do with "
            "the first.",
        ),
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a sample click log with planted crosses, and its recipe."""
    from widedeep.synth.criteo import Planting
    from widedeep.synth.sample_log import FILE_NAMES, write_criteo_log, write_drifting_log, write_sample_log

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    asked = {
        name: count
        for name, count in {"crosses": crosses, "low_rank": low_rank, "triples": triples}.items()
        if count is not None
    }
    if shape == "clicks" and asked:
        option = next(iter(asked)).replace("_", "-")
        raise UsageError(f"--{option} is for --shape criteo: what a click log has planted is fixed")
    if shape == "criteo" and new_users is not None:
        raise UsageError("--new-users is for --shape clicks: a log of Criteo's shape has no users")
    if drift is not None and days is None:
        raise UsageError("--drift says how far effects move from day to day: give --days too")
    if days is not None and (shape == "criteo" or new_users is not None or lift != 1.0):
        given = "--shape criteo" if shape == "criteo" else "--lift" if new_users is None else "--new-users"
        raise UsageError(f"--days with {given}: a log of days has its own users and effects; leave one of them out")
    labels = {"lift": lift} | ({} if rate is None else {"rate": rate})
    folder = Path(os.path.realpath(output))
    _refuse_existing(folder, force)
    _refuse_to_lose_files(folder, FILE_NAMES)
    with replacing_directory(folder) as temporary:
        if shape == "criteo":
            log = write_criteo_log(temporary, rows, seed, Planting(**asked), ConsoleReporter(), **labels)
        elif days is not None:
            moving = {} if drift is None else {"drift": drift}
            rates = {} if rate is None else {"rate": rate}
            log = write_drifting_log(temporary, rows, seed, ConsoleReporter(), days=days, **moving, **rates)
        else:
            log = write_sample_log(temporary, rows, seed, ConsoleReporter(), **labels, new_users=new_users)
        _refuse_to_lose_files(folder, FILE_NAMES)
    if as_json:
        print_json(
            {
                "rows": log.rows,
                "best_auc": log.best_auc,
                "best_log_loss": log.best_log_loss,
                "planted": log.planted,
                "low_rank": log.low_rank,
                "path": output,
                "files": [output / file.name for file in log.files],
            }
        )
        return
    print_facts(
        {
            "rows": f"{log.rows:,}",
            "best AUC": f"{log.best_auc:.4f} (no model can reach more)",
            "best log loss": f"{log.best_log_loss:.4f}",
            "planted": [" x ".join(cross) for cross in log.planted],
            "low rank": [" x ".join(pair) for pair in log.low_rank],
            "path": str(output),
        }
    )


def _refuse_existing(folder: Path, force: bool) -> None:
    try:
        exists = folder.exists()
    except OSError as error:  # a name that is too long, say
        raise WriteError(f"{folder}: cannot write: {error.strerror}; choose another place") from error
    if exists and not folder.is_dir():
        raise OutputExistsError(f"{folder}: this is a file; the log needs a folder of its own")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise OutputExistsError(f"{folder}: there is something in this folder; --force replaces an older sample log")


def _refuse_to_lose_files(folder: Path, ours: Sequence[str]) -> None:
    # --force replaces the whole folder, so it must be a sample log and not, say, a home directory.
    if not folder.is_dir():
        return
    others = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours)
    if others:
        raise UsageError(f"{folder}: holds {others[0]}, which is no part of a sample log: choose another folder")
