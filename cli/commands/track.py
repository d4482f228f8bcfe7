"""`widedeep track`: finished runs, replayed into TensorBoard, MLflow or Weights & Biases."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from widedeep.api.experiments import run_paths
from widedeep.errors import ArtefactError, ColumnError, DataError, UsageError

from .. import without_collecting
from ..options import JsonOption, QuietOption, RunsArgument, TrustOption, WaitOption, WorkOption
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.reporting import Reporter
    from widedeep.tracking.replay import Replay


def track(
    runs: RunsArgument,
    to: Annotated[
        tuple[str, str],
        typer.Option(
            "--to",
            metavar="TRACKER PLACE",
            help="tensorboard DIR, mlflow DIR or http(s)://SERVER, or wandb DIR.",
            show_default=False,
        ),
    ],
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw what `report` draws; scores held-out rows for it.")
    ] = True,
    trust: TrustOption = False,
    work: WorkOption = Path(),
    wait: WaitOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Replay finished runs into TensorBoard, MLflow or Weights & Biases: series, figures, recipe, pictures.

    Doing it again changes nothing. MLflow keeps runs of a folder in DIR/mlflow.db; Weights & Biases are written
    offline, for `wandb sync`. Needs pip install 'widedeep[tensorboard]', 'widedeep[mlflow]' or 'widedeep[wandb]', and
    for pictures 'widedeep[report]'.
    """
    from widedeep.tracking.places import check_place, check_tracker, make_place

    tracker = check_tracker(to[0])
    place = check_place(tracker, to[1])
    with without_collecting():
        from widedeep.tracking.replay import read_replay
        from widedeep.tracking.write import writer_to

    from ..console import ConsoleReporter  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter(quiet=quiet)
    replays = [read_replay(path) for path in dict.fromkeys(run_paths(runs, work))]
    make_place(tracker, place)
    with without_collecting():
        write = writer_to(tracker, place)
    written = []
    with reporter.work("track", len(replays), "runs") as meter:
        for number, read in enumerate(replays, 1):
            replay = _with_pictures(read, work, reporter, trust=trust, wait=wait) if pictures else read
            written.append(
                {
                    "run": replay.path,
                    "as": write(replay),
                    "series": len(replay.series()),
                    "points": len(replay.points),
                    "figures": len(replay.figures),
                    "pictures": len(replay.pictures),
                }
            )
            meter.update(number)
    if as_json:
        print_json({"to": tracker, "place": place, "runs": written})
        return
    for facts in written:
        points = f"{facts['series']} series of {facts['points']:,} points, {facts['figures']} figures"
        print_facts(
            {
                "run": str(facts["run"]),
                "written": f"{points}, {facts['pictures']} pictures",
                "as": str(facts["as"]),
            }
        )


def _with_pictures(replay: "Replay", work: Path, reporter: "Reporter", *, trust: bool, wait: bool) -> "Replay":
    """The replay with the pictures of its page; without, and a note on why, where they cannot be drawn."""
    from ..drawing import require_drawing

    try:
        require_drawing("track --pictures")
        with without_collecting():
            from widedeep.comparison.measured_runs import measure_runs
            from widedeep.report.pngs import pngs

        measured = measure_runs([replay.path], None, (), work, reporter, trust=trust, wait=wait)
        return replace(replay, pictures=pngs(measured))
    except (UsageError, ArtefactError, DataError, ColumnError) as error:
        reporter.note(f"{replay.path}: no pictures: {error}")
        return replay
