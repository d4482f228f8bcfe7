"""`predict` by workers writes the bytes, and tells the messages and the faults, of one process."""

import errno
import io
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from heard import Heard
from sample_projects import RECIPE, write_log
from stages_of_workers import DyingPool, Meddling, Shuffled

from widedeep.errors import WidedeepError
from widedeep.runs import RunDirectory
from widedeep.scoring.folder import predict_folder
from widedeep.scoring.guard import GuardOptions
from widedeep.scoring.predict import ScoringOptions, predict_files
from widedeep.scoring.scorer import Scorer
from widedeep.source.sources import read_blocks
from widedeep.workers import Workers

CommandLine = Callable[..., tuple[int, str, str]]
WARN = GuardOptions(warn={"missing": 0.02, "unseen": 0.02, "shift": 0.02})


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read in small blocks, alone too, and cut after a few of them; workers are this process, in disorder."""
    monkeypatch.setitem(read_blocks.__kwdefaults__, "block_bytes", 2000)
    monkeypatch.setattr("widedeep.scoring.by_workers.BLOCK_BYTES", 2000)
    monkeypatch.setattr("widedeep.source.columnar_blocks.BLOCK_ROWS", 64)
    monkeypatch.setattr("widedeep.scoring.by_workers.CUT_BYTES", 3000)
    monkeypatch.setattr("widedeep.scoring.by_workers.PART_ROWS", 40)
    monkeypatch.setattr("widedeep.scoring.scored_blocks.PART_ROWS", 40)
    use(monkeypatch, Shuffled(1))


def use(monkeypatch: pytest.MonkeyPatch, workers: Workers) -> None:
    @contextmanager
    def opened(where: str, folder: Path) -> Iterator[Workers]:
        assert folder.is_dir()
        yield workers

    monkeypatch.setattr("widedeep.scoring.by_workers.open_workers", opened)


@pytest.fixture
def run(trained: Path) -> Path:
    return trained / "runs" / "small" / "latest"


def made(run: Path, files: Sequence[Path], output: Path | io.BytesIO, options: ScoringOptions) -> list[Any]:
    """What comes of scoring: counts, or the error; messages; the scores and the report as bytes."""
    heard, report, came = Heard(), options.guard.report, list[Any]()
    score = predict_folder if isinstance(output, Path) and output.suffix == "" else predict_files
    try:
        if score is predict_folder:
            result = score(run, files, output, options, heard)  # type: ignore[arg-type, call-arg]
        else:
            result = predict_files(run, files, output, reporter=heard, **vars(options))
        came += [result.rows, result.missing, list(result.missing), result.unseen, list(result.unseen), result.breaches]
    except WidedeepError as error:
        came += [type(error), error.exit_code, str(error)]
    came.append(heard.said)
    if isinstance(output, io.BytesIO):
        came.append(output.getvalue())
    else:
        places = sorted(output.iterdir()) if output.is_dir() else [output]
        # The order of attributes aside, a manifest says the same.
        came += [place.read_bytes() for place in places if place.exists() and place.name != "_widedeep.json"]
        came += [place.name for place in places]
    if report is not None and report.exists():
        came.append(json.loads(report.read_text()))
        report.unlink()
    return came


def require_equal(
    run: Path, files: Sequence[Path], output: str | None, tmp_path: Path, options: ScoringOptions = ScoringOptions()
) -> list[Any]:
    """Score alone and by workers; what came of it."""
    (tmp_path / "work").mkdir(exist_ok=True)
    came = []
    for workers in (None, "2"):
        target = io.BytesIO() if output is None else tmp_path / output
        came.append(made(run, files, target, replace(options, workers=workers, work_dir=tmp_path / "work")))
        if isinstance(target, Path) and target.is_file():
            target.unlink()
        elif isinstance(target, Path) and target.is_dir():
            target.rename(tmp_path / f"{output}-{workers}")
    assert came[0] == came[1]
    assert list((tmp_path / "work").iterdir()) == []
    return came[0]


def write_rows(path: Path, rows: int, seed: int = 0, *, quoted: bool = False) -> Path:
    """Rows to score, some of which training had not; with line breaks in quoted values if they are to be `quoted`."""
    write_log(path, rows, seed)
    text = path.read_text().replace("blue", '"violet,\n\nor so"' if quoted else "violet")
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("kind", "output"),
    [
        ("csv", "scores.csv"),
        ("csv", "scores.ndjson"),
        ("parquet", "scores.parquet"),
        ("arrow", "scores.csv"),
        ("ndjson", "scores.parquet"),
        ("csv.gz", None),
    ],
)
@pytest.mark.usefixtures("small_pieces")
def test_scores_counts_and_reports_are_those_of_one_process(
    kind: str, output: str | None, run: Path, tmp_path: Path
) -> None:
    files = [write_rows(tmp_path / f"{n}.csv", rows, n, quoted=True) for n, rows in enumerate([300, 3, 90])]
    if kind != "csv":
        frames = [pl.read_csv(file, infer_schema=kind != "csv.gz") for file in files]
        files = [file.with_suffix(f".{kind}") for file in files]
        for frame, file in zip(frames, files, strict=True):
            {
                "parquet": frame.write_parquet,
                "arrow": frame.write_ipc,
                "ndjson": frame.write_ndjson,
                "csv.gz": lambda file, frame=frame: frame.write_csv(file, compression="gzip"),
            }[kind](file)
    options = ScoringOptions(keep=["color", "id"], guard=replace(WARN, report=tmp_path / "report.json"))

    came = require_equal(run, files, output, tmp_path, options)

    assert came[0] == 393
    assert came[5] != []
    assert came[-1]["rows"] == 393


@pytest.mark.usefixtures("small_pieces")
def test_lists_moments_and_side_tables_are_those_of_one_process(rich: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text((rich / "log.csv").read_text().replace("\n3,", "\n99,").replace("\n7,", "\nx7,"))
    table = tmp_path / "users.csv"
    table.write_text((rich / "users.csv").read_text().replace("\n5,", "\n95,"))

    came = require_equal(
        rich / "runs" / "rich" / "latest",
        [log],
        "scores.csv",
        tmp_path,
        ScoringOptions(keep=["users.age"], tables={"users": str(table)}),
    )

    assert any("99" in message and "x7" in message for _, message in came[6])


FAULTS: dict[str, tuple[int, Callable[[str], str]]] = {
    "a number that is none": (3, lambda text: text.replace("\n70,", "\n70,red,flat,u1,much,3,1\n71,", 1)),
    "a short line": (3, lambda text: text.replace("\n70,", "\n70,red\n71,", 1)),
    "no such column": (2, lambda text: text.replace("price", "cost", 1)),
    "an open quote": (3, lambda text: text + '500,"red,flat,u1,3,3,1\n'),
    "a rowless file": (0, lambda text: text.split("\n", 1)[0] + "\n"),
    "an empty file": (0, lambda text: ""),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.usefixtures("small_pieces")
def test_the_first_fault_is_told_after_the_scores_of_the_rows_before_it(name: str, run: Path, tmp_path: Path) -> None:
    code, spoilt = FAULTS[name]
    files = [write_rows(tmp_path / f"{n}.csv", 120, n) for n in range(4)]
    for file in (files[1], files[3]):
        file.write_text(spoilt(file.read_text()))

    came = require_equal(run, files, None, tmp_path)
    require_equal(run, files, "scores.parquet", tmp_path)

    assert came[1] == code if code else came[0] == 240
    assert str(files[1]) in (came[2] if code else came[6][0][1])
    assert len(came[-1].splitlines()) > 100


@pytest.mark.usefixtures("small_pieces")
def test_a_large_file_of_comments_has_no_rows(run: Path, tmp_path: Path) -> None:
    empty, other = tmp_path / "0.csv", write_rows(tmp_path / "1.csv", 20)
    empty.write_text(other.read_text().split("\n", 1)[0] + "\n" + "# nothing\n" * 900)
    options = ScoringOptions(formats=["comment=#"])

    assert "no rows" in require_equal(run, [empty], "scores.csv", tmp_path, options)[2]
    assert require_equal(run, [empty, other], "scores.csv", tmp_path, options)[0] == 20


@pytest.mark.parametrize("output", ["scores.parquet", "scores.ndjson"])
@pytest.mark.usefixtures("small_pieces")
def test_columns_that_change_their_type_from_file_to_file_are_judged_as_by_one_process(
    output: str, run: Path, tmp_path: Path
) -> None:
    frame = pl.read_csv(write_rows(tmp_path / "rows.csv", 200))
    columns = [pl.lit(None), pl.lit(3, pl.Int8), pl.lit(2**40, pl.UInt64), pl.lit("x")]
    files = []
    for number, column in enumerate(columns):
        files.append(tmp_path / f"{number}.parquet")
        frame.with_columns(column.alias("kept")).write_parquet(files[-1])
    options = ScoringOptions(keep=["kept"])

    whole = require_equal(run, files[:3], output, tmp_path, options)
    came = require_equal(run, files, output, tmp_path, options)

    assert whole[0] == 600
    assert came[0] == 800 if output == "scores.ndjson" else "values first and String later" in came[2]


@pytest.mark.usefixtures("small_pieces")
def test_a_kind_of_values_that_changes_from_file_to_file_is_refused_as_by_one_process(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Untold(Scorer):
        """Of a run whose train rows had no value of any column."""

        def read_as(self, run: RunDirectory) -> None:
            super().read_as(run)
            self.source_kinds = {}

    monkeypatch.setattr("widedeep.scoring.predict.Scorer", Untold)
    monkeypatch.setattr("widedeep.scoring.by_workers.Scorer", Untold)
    frame = pl.read_csv(write_rows(tmp_path / "rows.csv", 200))
    files = [tmp_path / f"{number}.parquet" for number in range(3)]
    frame.with_columns(color=pl.lit(None)).write_parquet(files[0])
    frame.with_columns(color=pl.date(2024, 1, 1)).write_parquet(files[1])
    frame.with_columns(color=pl.lit(5)).write_parquet(files[2])

    came = require_equal(run, files, None, tmp_path)

    assert f"{files[2]}: column 'color' holds number values where training saw temporal" in came[2]
    assert len(came[-1].splitlines()) == 401


@pytest.mark.usefixtures("small_pieces")
def test_rows_past_a_limit_are_refused_and_leave_nothing(run: Path, tmp_path: Path) -> None:
    files = [write_rows(tmp_path / f"{n}.csv", 150, n) for n in range(2)]
    options = ScoringOptions(guard=GuardOptions(refuse={"color.unseen": 0.01}))

    came = require_equal(run, files, "scores.csv", tmp_path, options)

    assert came[1] == 7
    assert not (tmp_path / "scores.csv").exists()


@pytest.mark.usefixtures("small_pieces")
def test_a_folder_holds_a_file_for_each_and_goes_on_after_a_fault(run: Path, tmp_path: Path) -> None:
    files = [write_rows(tmp_path / f"day-{n}.csv", rows, n) for n, rows in enumerate([150, 10, 200, 30])]
    whole = files[2].read_text()
    options = ScoringOptions(guard=WARN, output_format="csv")

    require_equal(run, files, "whole", tmp_path, options)
    files[2].write_text(whole + "1,red\n")
    came = require_equal(run, files, "folder", tmp_path, options)
    assert came[1] == 3
    assert "_SUCCESS" not in came

    files[2].write_text(whole)
    for workers in (None, "2"):
        folder = tmp_path / f"folder-{workers}"
        again = replace(options, force=True, workers=workers, work_dir=tmp_path / "work")
        (folder / "day-0.csv").stat()
        assert made(run, files, folder, again)[0] == 390
        assert (folder / "day-2.csv").read_bytes() == (tmp_path / "whole-None" / "day-2.csv").read_bytes()
    (folder / "day-1.csv").unlink()
    again = replace(options, workers="2", work_dir=tmp_path / "work")
    assert made(run, files, folder, again)[0] == 10
    assert (folder / "day-1.csv").read_bytes() == (tmp_path / "whole-None" / "day-1.csv").read_bytes()


def test_workers_that_are_killed_leave_the_bytes_of_one_process(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.scoring.by_workers.BLOCK_BYTES", 2000)
    monkeypatch.setattr("widedeep.scoring.by_workers.CUT_BYTES", 3000)
    files = [write_rows(tmp_path / f"{n}.csv", 200, n) for n in range(2)]
    pool = DyingPool(2)
    try:
        use(monkeypatch, pool)
        options = ScoringOptions(keep=["id"], workers="2", work_dir=tmp_path)
        result = predict_files(run, files, tmp_path / "shared.csv", reporter=Heard(), **vars(options))
    finally:
        pool.close()

    monkeypatch.setitem(read_blocks.__kwdefaults__, "block_bytes", 2000)
    predict_files(run, files, tmp_path / "alone.csv", keep=["id"], reporter=Heard())
    assert pool.deaths > 1
    assert result.rows == 400
    assert (tmp_path / "shared.csv").read_bytes() == (tmp_path / "alone.csv").read_bytes()
    assert list(tmp_path.glob(".widedeep.tmp*")) == []


def test_what_gives_its_rows_once_is_refused(run: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)

    for given in ("-", pipe):
        code, out, err = widedeep("predict", run, given, "-o", "-", "--workers", "2")
        assert (code, out) == (2, "")
        assert f"--workers: {'<stdin>' if given == '-' else pipe} gives its rows once" in err


def test_the_command_scores_by_processes_what_it_scores_alone(
    run: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw = random.Random(3)
    files = [write_rows(Path(f"{n}.csv"), draw.randrange(20, 90), n) for n in range(3)]

    code, alone, err = widedeep("predict", run, *files, "-o", "-", "--keep", "id")
    shared = widedeep("predict", run, *files, "-o", "-", "--keep", "id", "--workers", "2", "--work", "work")

    assert code == 0
    assert shared == (0, alone, err)


# ------------------------------------------------------------------------------------------------------------ measured


def measured(widedeep: CommandLine, *arguments: str | Path) -> dict[str, Any]:
    """What `eval --json` gives, alone and by workers, and what it says."""
    came = []
    for options in ([], ["--workers", "2", "--work", "work"]):
        code, out, err = widedeep("eval", *arguments, "--json", *options)
        assert code == 0, err
        came.append((out, err))
    assert came[0] == came[1]
    return {**json.loads(came[0][0]), "said": came[0][1]}


@pytest.mark.usefixtures("small_pieces")
def test_metrics_of_files_are_those_of_one_process_to_the_last_digit(
    run: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [write_rows(Path(f"{n}.csv"), rows, n, quoted=True) for n, rows in enumerate([400, 30, 5])]

    came = measured(widedeep, run, *files)
    assert came["rows"] == 435
    assert came["unseen"]["color"] > 50
    assert 0.5 < came["metrics"]["auc"] < 1

    sliced = measured(widedeep, run, *files, "--slice", "shape", "--slice", "color")
    assert sliced["metrics"] == came["metrics"]
    assert sum(value["rows"] for value in sliced["slices"]["shape"]) == 435
    assert list(Path("work").iterdir()) == []


@pytest.mark.usefixtures("small_pieces")
def test_metrics_of_a_split_in_many_parts_by_group_and_weight_are_those_of_one_process(
    tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("widedeep.table.parts.PART_ROWS", 50)
    write_log(tmp_path / "log.csv", 900)
    settings = "label: click\n  group: user\n  weight: id"
    (tmp_path / "grouped.yaml").write_text(RECIPE.replace("label: click", settings).replace("epochs: 2", "epochs: 1"))
    assert widedeep("train", "grouped.yaml")[0] == 0
    assert len(list(tmp_path.glob("stages/ingest/*/test/part-*.arrow"))) > 1

    came = measured(widedeep, "runs/small/latest")
    assert came["split"] == "test"
    assert came["metrics"]["gauc"] is not None
    assert measured(widedeep, "runs/small/latest", "--split", "train", "--slice", "shape")["rows"] > 500
    assert measured(widedeep, "runs/small/latest", "log.csv")["rows"] == 900


@pytest.mark.usefixtures("small_pieces")
def test_a_label_that_is_none_is_told_with_its_line(
    run: Path, tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [write_rows(Path(f"{n}.csv"), 200, n) for n in range(3)]
    for file in files[1:]:
        file.write_text(file.read_text() + "200,red,flat,u1,3,3,maybe\n")

    alone, shared = (widedeep("eval", run, *files, *options) for options in ([], ["--workers", "2"]))

    assert shared == alone
    assert alone[0] == 3
    assert "1.csv:202: column 'click': the label 'maybe'" in alone[2]


def test_two_runs_are_not_measured_by_workers(run: Path, trained: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("eval", run, trained / "new.csv", "--against", run, "--workers", "2")

    assert (code, out) == (2, "")
    assert "--workers measures one run" in err


@pytest.mark.usefixtures("small_pieces")
def test_a_full_disk_is_told_with_the_work_directory_and_leaves_nothing(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write_rows(tmp_path / f"{n}.csv", 60, n) for n in range(2)]
    write_ipc, written = pl.DataFrame.write_ipc, list[int]()

    def full(frame: pl.DataFrame, file: Any, **options: Any) -> None:
        written.append(frame.height)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_ipc(frame, file, **options)

    monkeypatch.setattr(pl.DataFrame, "write_ipc", full)
    work = tmp_path / "work"
    options = ScoringOptions(workers="2", work_dir=work)

    came = made(run, files, tmp_path / "scores.csv", options)

    assert came[1:3] == [6, f"{work}: cannot write: No space left on device; free some space or choose another place"]
    assert list(work.iterdir()) == []
    assert not (tmp_path / "scores.csv").exists()


def test_a_work_directory_that_is_deleted_meanwhile_is_told_and_not_the_output(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    use(monkeypatch, Meddling("_score", lambda: shutil.rmtree(work)))
    options = ScoringOptions(workers="2", work_dir=work)

    came = made(run, [write_rows(tmp_path / "rows.csv", 9)], tmp_path / "scores.csv", options)

    assert came[1] == 5
    assert came[2].startswith(f"{work}/.widedeep.tmp-")
    assert came[2].endswith(
        ": is gone, where scores waited: leave it alone while a command runs, and let all workers see --work"
    )
