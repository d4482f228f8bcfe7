"""`ingest` by workers leaves the rows and the report of one process, whatever the files, their cuts and the split."""

import csv
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_projects import RICH_RECIPE
from stages_of_workers import DyingPool, Meddling, Shuffled, files_of, write_project

from widedeep.errors import ColumnError, DataError, NoRowsError, UsageError
from widedeep.pipeline.ingest_stage import IngestResult, ingest, ingest_stage
from widedeep.pipeline.stages import build_crosses, encoding_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.profile.row_sample import RowSample
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.table.parts import read_typed
from widedeep.workers import Workers
from widedeep.workers.pool import Pool

COLUMNS = ["price", "color", "user", "day", "at", "click"]


def write_rows(path: Path, rows: int, seed: int, *, quoted: bool = False) -> None:
    """A log of some kinds of columns, with line breaks in quoted values if it is to be `quoted`."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for _ in range(rows):
            color = draw.choice(["red", 'so "called"\nblue', "a, b\n\nc"] if quoted else ["red", "blue", "", "n/a"])
            price = draw.choice([round(draw.lognormvariate(1, 1), 2), "", "n/a"])
            writer.writerow(
                [price, color, f"u{draw.randrange(60)}", draw.randrange(9), draw.random(), draw.random() < 0.3]
            )


def recipe_of(data: str, train: str = "log-*.csv") -> str:
    return f"""\
name: parts
data:
  train: {train}
  label: click
  format: {{missing: ["", "n/a"]}}
{data}
features:
  numeric: [{{column: price, buckets: 4}}, at]
  categorical: [color, {{column: user, min_count: 2}}, day]
crosses: [[color, day]]
"""


def by_workers(folder: Path, workers: Workers, work: str = "shared") -> IngestResult:
    loaded = load_recipe(folder / "parts.yaml")
    return ingest_stage(loaded, Workspace(folder / work), Reporter(), workers)


def alone(folder: Path) -> IngestResult:
    return ingest(load_recipe(folder / "parts.yaml"), folder / "alone", Reporter())


def require_equal(mine: IngestResult, other: IngestResult) -> None:
    assert mine.key == other.key
    assert mine.path != other.path
    reports = [json.loads((result.path / "report.json").read_text()) for result in (mine, other)]
    assert reports[0] == reports[1]
    for split in mine.rows:
        assert read_typed(mine.path, split).equals(read_typed(other.path, split)), split
    for name in ("forms.json", "missing.json", "longest.json", "first-rows.arrow"):
        assert [(r.path / name).read_bytes() if (r.path / name).exists() else None for r in (mine, other)].count(
            None
        ) in (0, 2), name


SPLITS = {
    "random": "  split: {kind: random, valid: 0.1, test: 0.2}",
    "time": "  time: at\n  split: {kind: time, valid: 0.1, test: 0.2}",
    "key": "  split: {kind: key, key: user, valid: 0.1, test: 0.2}",
    "column": "  split: {kind: column, column: day, valid: [7], test: [8]}",
    "files": "  valid: more-*.csv",
    "sampled": "  keep_negatives: 0.5\n  group: user",
    "sampled by time": "  keep_negatives: 0.5\n  time: at\n  split: {kind: time, valid: 0.1, test: 0.2}",
}


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_of_cut_files_is_that_of_one_process(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, quoted = SPLITS[name], name in ("random", "sampled by time")
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 2000)
    monkeypatch.setattr(RowSample.__init__, "__defaults__", (100, 5))
    for number, rows in enumerate([300, 5, 30]):
        write_rows(tmp_path / f"log-{number}.csv", rows, number, quoted=quoted)
    write_rows(tmp_path / "more-0.csv", 120, 9, quoted=quoted)
    (tmp_path / "log-3.csv").write_text(",".join(COLUMNS) + "\n")  # without rows, as a quiet hour leaves it
    (tmp_path / "parts.yaml").write_text(recipe_of(split))

    shared = by_workers(tmp_path, Shuffled(1))

    require_equal(alone(tmp_path), shared)
    assert len(list((shared.path / "train").glob("part-*.arrow"))) > 3


def test_the_order_in_which_pieces_are_finished_is_not_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 2000)
    write_rows(tmp_path / "log-0.csv", 300, 1)
    (tmp_path / "parts.yaml").write_text(recipe_of(SPLITS["random"]))

    first, second = (by_workers(tmp_path, Shuffled(seed), f"work-{seed}") for seed in (1, 2))

    assert files_of(first.path) == files_of(second.path)


@pytest.mark.parametrize("kind", ["parquet", "arrow", "ndjson", "csv.gz"])
def test_other_formats_are_read_as_one_process_reads_them(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 1000)
    monkeypatch.setattr("widedeep.source.columnar_blocks.BLOCK_ROWS", 64)
    write_rows(tmp_path / "log-0.csv", 400, 1)
    frame = pl.read_csv(tmp_path / "log-0.csv", infer_schema=kind != "csv.gz")
    write: dict[str, Any] = {
        "parquet": frame.write_parquet,
        "arrow": frame.write_ipc,
        "ndjson": frame.write_ndjson,
        "csv.gz": lambda path: frame.write_csv(path, compression="gzip"),
    }
    write[kind](tmp_path / f"a.{kind}")
    (tmp_path / "parts.yaml").write_text(recipe_of(SPLITS["random"], f"a.{kind}"))

    require_equal(alone(tmp_path), by_workers(tmp_path, Shuffled()))


def test_lists_moments_and_side_tables_are_those_of_one_process(
    rich: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 2000)
    for name in ("log.csv", "users.csv"):
        (tmp_path / name).write_bytes((rich / name).read_bytes())
    (tmp_path / "log.csv").write_text((tmp_path / "log.csv").read_text().replace("\n3,", "\n99,"))
    (tmp_path / "parts.yaml").write_text(RICH_RECIPE)
    heard: list[list[str]] = [[], []]

    class Hearing(Reporter):
        def __init__(self, place: int) -> None:
            self.place = place

        def warn(self, message: str) -> None:
            heard[self.place].append(message)

    loaded = load_recipe(tmp_path / "parts.yaml")
    one = ingest(loaded, tmp_path / "alone", Hearing(0))
    shared = ingest_stage(loaded, Workspace(tmp_path / "shared"), Hearing(1), Shuffled())

    require_equal(one, shared)
    assert heard[0] == heard[1]
    assert any("99" in message for message in heard[0])


def test_workers_that_die_of_every_third_part_leave_the_bytes_of_those_that_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 15_000)
    write_project(tmp_path, monkeypatch)
    undisturbed = by_workers(tmp_path, Shuffled())

    pool = DyingPool(2)
    try:
        disturbed = by_workers(tmp_path, pool, "disturbed")
    finally:
        pool.close()

    assert pool.deaths > 3
    assert files_of(disturbed.path) == files_of(undisturbed.path)
    assert list((tmp_path / "disturbed").rglob(".*.tmp-*")) == []
    require_equal(alone(tmp_path), disturbed)


def test_crosses_of_a_table_by_workers_have_the_bytes_of_one_process_and_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 5000)
    loaded = load_recipe(write_project(tmp_path, monkeypatch))
    by_workers(tmp_path, Shuffled())

    one = build_crosses(loaded, tmp_path / "alone", Reporter())
    shared = build_crosses(loaded, tmp_path / "shared", Reporter())

    assert shared.ingested.cached
    assert one.key == shared.key
    assert files_of(one.path) == files_of(shared.path)


@pytest.mark.parametrize(
    ("lines", "kind", "message"),
    [
        (["1,red,u,1,0.5,maybe"], DataError, r"log-1.csv:2: column 'click': the label 'maybe'"),
        (["1,red,u"], DataError, r"log-1.csv:2: 3 values where the table has 6 columns"),
        (None, ColumnError, r"log-1.csv: no column 'price'"),
    ],
)
def test_a_fault_of_a_row_is_told_as_by_one_process_and_the_first_one_only(
    lines: Sequence[str] | None, kind: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 500)
    for number in range(4):
        write_rows(tmp_path / f"log-{number}.csv", 40, number)
    for number in (1, 3):
        head = ",".join(COLUMNS) if lines is not None else "cost,color,user,day,at,click"
        (tmp_path / f"log-{number}.csv").write_text("\n".join([head, *(lines or ["1,red,u,1,0.5,1"])]) + "\n")
    (tmp_path / "parts.yaml").write_text(recipe_of(""))

    for run in (lambda: alone(tmp_path), lambda: by_workers(tmp_path, Shuffled())):
        with pytest.raises(kind, match=message):
            run()


@pytest.mark.parametrize(
    ("bad_line", "message"),
    [(5, r"log-0.csv:5: column 'click': the label 'maybe'"), (None, r"log-0.csv:301: a quoted value is never closed")],
)
def test_of_a_file_that_is_cut_while_its_front_is_typed_the_first_fault_is_told(
    bad_line: int | None, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 500)
    write_rows(tmp_path / "log-0.csv", 300, 1)
    lines = (tmp_path / "log-0.csv").read_text().splitlines()
    lines[-1] = '"' + lines[-1]
    if bad_line is not None:
        lines[bad_line - 1] = lines[bad_line - 1].rpartition(",")[0] + ",maybe"
    (tmp_path / "log-0.csv").write_text("\n".join(lines) + "\n")
    write_rows(tmp_path / "log-1.csv", 5, 2)
    (tmp_path / "log-1.csv").write_text((tmp_path / "log-1.csv").read_text().replace("click", "clock"))
    (tmp_path / "parts.yaml").write_text(recipe_of(""))
    pool = Pool(2)

    try:
        for run in (lambda: by_workers(tmp_path, Shuffled()), lambda: by_workers(tmp_path, pool)):
            with pytest.raises(DataError, match=message):
                run()
    finally:
        pool.close()
    assert list((tmp_path / "shared" / "stages" / "ingest").iterdir()) == []


def test_files_without_any_rows_are_told_with_their_split(tmp_path: Path) -> None:
    (tmp_path / "log-0.csv").write_text(",".join(COLUMNS) + "\n")
    (tmp_path / "parts.yaml").write_text(recipe_of(""))

    with pytest.raises(NoRowsError, match="a header and no rows") as raised:
        by_workers(tmp_path, Shuffled())
    assert raised.value.split == "train"


def test_a_pipe_gives_its_rows_once_so_that_no_worker_reads_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "log-0.csv")
    (tmp_path / "parts.yaml").write_text(recipe_of(""))

    with pytest.raises(UsageError, match="gives its rows once"):
        by_workers(tmp_path, Shuffled())


@pytest.mark.parametrize("function", ["_cut", "_type"])
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "ndjson"])
def test_a_file_that_vanishes_after_planning_is_told_by_name_and_leaves_nothing(
    kind: str, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 500)
    paths = [tmp_path / f"a-{number}.{kind}" for number in range(3)]
    for number, path in enumerate(paths):
        write_rows(tmp_path / "log.csv", 100, number)
        frame = pl.read_csv(tmp_path / "log.csv", infer_schema=False)
        {
            "csv": frame.write_csv,
            "csv.gz": lambda path, frame=frame: frame.write_csv(path, compression="gzip"),
            "parquet": frame.write_parquet,
            "ndjson": frame.write_ndjson,
        }[kind](path)
    (tmp_path / "parts.yaml").write_text(recipe_of("", f"a-*.{kind}"))

    with pytest.raises(DataError, match=rf"a-1\.{kind}: .*[Nn]o such file") as raised:
        by_workers(tmp_path, Meddling(function, paths[1].unlink))

    assert raised.value.exit_code == 3
    assert "\n" not in str(raised.value)
    assert list((tmp_path / "shared" / "stages" / "ingest").iterdir()) == []


@pytest.mark.parametrize("name", ["time", "key", "column"])
def test_files_in_any_order_make_the_same_plan_and_rows_where_values_split(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 2000)
    for number in range(3):
        write_rows(tmp_path / f"log-{number}.csv", 150, number)
    plans, rows = set(), []
    for order in ((0, 1, 2), (2, 0, 1)):
        (tmp_path / "parts.yaml").write_text(recipe_of(SPLITS[name], str([f"log-{number}.csv" for number in order])))
        workspace = Workspace(tmp_path / f"work-{order[0]}")
        encoded = encoding_stage(load_recipe(tmp_path / "parts.yaml"), workspace, Reporter(), workers=Shuffled())
        plans.add(encoded.checked_plan().digest)
        typed = encoded.ingested.path
        rows.append({split: read_typed(typed, split).rows() for split in encoded.ingested.rows})

    assert len(plans) == 1
    assert {split: Counter(of_split) for split, of_split in rows[0].items()} == {
        split: Counter(of_split) for split, of_split in rows[1].items()
    }
    assert rows[0] != rows[1]
