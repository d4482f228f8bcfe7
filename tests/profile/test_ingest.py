"""Ingest from end to end: what lies on disk, what is reported, what is refused over a whole table."""

import json
import resource
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from widedeep.errors import ColumnError, DataError, WriteError
from widedeep.profile.ingest import ingest
from widedeep.profile.report import IngestReport
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Meter, Reporter
from widedeep.source import csv_blocks
from widedeep.table import parts
from widedeep.table.parts import read_typed, typed_blocks
from widedeep.table.typed_columns import LABEL, TIME

NUM_ROWS = 1000


@pytest.fixture(params=[0, 1 << 30], ids=["compiled", "plain"], autouse=True)
def compiled_bytes(request, monkeypatch) -> None:
    monkeypatch.setattr(csv_blocks, "_COMPILED_BYTES", request.param)


@pytest.fixture
def log(tmp_path) -> Path:
    rows = pl.DataFrame({"row": range(NUM_ROWS)}).select(
        pl.col("row"),
        (pl.col("row") % 3 == 0).cast(pl.Int8).alias("y"),
        pl.when(pl.col("row") % 10 == 0).then(None).otherwise(pl.col("row") * 0.5).alias("n"),
        pl.format("u{}", pl.col("row") % 50).alias("user"),
        (pl.col("row") * 7919 % NUM_ROWS).alias("t"),
    )
    rows[:600].write_csv(tmp_path / "a.csv")
    rows[600:].select("t", "user", "n", "y", "row").write_csv(tmp_path / "b.csv")
    return tmp_path


def recipe_of(train="[ab].csv", numeric=("row", "n"), categorical=("user",), **data) -> Recipe:
    data = {"train": train, "label": "y", **data}
    return Recipe.model_validate(
        {"name": "r", "data": data, "features": {"numeric": numeric, "categorical": categorical}}
    )


def run(base: Path, recipe: Recipe, out: str = "out", reporter: Reporter | None = None) -> IngestReport:
    (base / out).mkdir()
    return ingest(recipe, base, base / out, reporter or Reporter())


def refusal(base: Path, recipe: Recipe) -> str:
    with pytest.raises(DataError) as caught:
        run(base, recipe)
    return str(caught.value)


def rows_in(base: Path, split: str, out: str = "out") -> list[int]:
    return read_typed(base / out, split)["row"].cast(pl.Int64).to_list()


def test_every_row_lands_in_one_split_in_file_order_with_columns_matched_by_name(log):
    report = run(log, recipe_of())
    found = {split: rows_in(log, split) for split in report.rows}
    assert list(found) == ["train", "valid", "test"]
    assert {split: len(rows) for split, rows in found.items()} == report.rows
    assert all(rows == sorted(rows) for rows in found.values())
    assert sorted(row for rows in found.values() for row in rows) == list(range(NUM_ROWS))
    whole = pl.concat([read_typed(log / "out", split) for split in found]).sort("row")
    assert whole[LABEL].to_list() == [float(row % 3 == 0) for row in range(NUM_ROWS)]
    assert whole["user"].to_list() == [f"u{row % 50}" for row in range(NUM_ROWS)]
    assert whole.columns == [LABEL, "row", "n", "user"]


def test_the_report_counts_rows_missing_values_and_labels_and_survives_json(log):
    report = run(log, recipe_of())
    columns = {column.name: column for column in report.columns}
    assert sum(columns["n"].missing.values()) == NUM_ROWS / 10
    assert columns["n"].missing["valid"] == sum(row % 10 == 0 for row in rows_in(log, "valid"))
    positives = sum(row % 3 == 0 for row in rows_in(log, "test"))
    assert report.label["test"].positives == positives
    assert report.label["test"].mean == positives / report.rows["test"]
    assert report.source_kinds == dict.fromkeys(("y", "row", "n", "user"), "text")
    assert IngestReport.from_json(json.loads(json.dumps(report.to_json()))) == report


@pytest.mark.parametrize("split", [{}, {"kind": "key", "key": "user"}, {"kind": "time"}])
def test_equal_inputs_give_equal_bytes_and_the_block_size_does_not_move_a_row(log, monkeypatch, split):
    recipe = recipe_of(time="t", split=split)
    run(log, recipe, "first")
    run(log, recipe, "second")
    files = sorted(path.relative_to(log / "first") for path in (log / "first").rglob("*"))
    assert [str(path) for path in files if path.suffix] == [
        "first-rows.arrow",
        "forms.json",
        *(f"{split}/part-00000.{kind}" for split in ("test", "train", "valid") for kind in ("arrow", "values")),
    ]
    for path in files:
        if path.suffix:
            assert (log / "first" / path).read_bytes() == (log / "second" / path).read_bytes()
    real = csv_blocks.read_csv_blocks
    small = lambda *args, **options: real(*args, **{**options, "block_bytes": 300})  # noqa: E731
    monkeypatch.setattr(csv_blocks, "read_csv_blocks", small)
    monkeypatch.setattr(parts, "PART_ROWS", 64)
    run(log, recipe, "third")
    assert len(list((log / "third" / "train").iterdir())) > 5
    for name in ("train", "valid", "test"):
        assert read_typed(log / "third", name).equals(read_typed(log / "first", name))
        blocks = list(typed_blocks(log / "third", name, rows=20, columns=["row"]))
        assert max(block.height for block in blocks) <= 20
        assert pl.concat(blocks)["row"].to_list() == rows_in(log, name, "third")


def test_texts_that_came_as_codes_are_stored_and_reported_as_those_that_did_not(log, monkeypatch):
    rows = pl.DataFrame(
        {"y": [0, 1] * 300, "id": [f"id {i}" for i in range(600)], "few": [" a", "", "NA", "a", "é", "b"] * 100}
    )
    rows = rows.with_columns(
        n=pl.Series(["1", "", "1e3", "-0", "x", "0.1"] * 100), both=pl.Series(["1", "1.0", ""] * 200)
    )
    rows.write_csv(log / "texts.csv")
    recipe = recipe_of(
        "texts.csv", ["n", "both"], ["id", "few", "both"], bad_numbers="missing", format={"missing": ["", "NA"]}
    )
    reports = {}
    for compiled_bytes in (0, 1 << 30):
        monkeypatch.setattr(csv_blocks, "_COMPILED_BYTES", compiled_bytes)
        reports[compiled_bytes] = run(log, recipe, str(compiled_bytes)).to_json()
    compiled, plain = reports.values()
    assert compiled == plain
    for split in ("train", "valid", "test"):
        assert read_typed(log / "0", split).equals(read_typed(log / str(1 << 30), split))


def test_splits_with_files_of_their_own_keep_them_whole(log):
    report = run(log, recipe_of(train="a.csv", test="b.csv"))
    assert report.rows["test"] == 400
    assert report.rows["train"] + report.rows["valid"] == 600
    report = run(log, recipe_of(train="a.csv", test="b.csv", split={"valid": 0}), "again")
    assert report.rows == {"train": 600, "test": 400}


def test_by_time_valid_and_test_are_the_last_parts(log):
    report = run(log, recipe_of(time="t", split={"kind": "time", "valid": 0.2, "test": 0.1}))
    assert report.rows == {"train": 700, "valid": 200, "test": 100}
    bounds = [read_typed(log / "out", split)[TIME] for split in ("train", "valid", "test")]
    assert [(times.min(), times.max()) for times in bounds] == [(0, 699), (700, 899), (900, 999)]
    assert sorted(path.name for path in (log / "out").iterdir()) == [
        "first-rows.arrow",
        "forms.json",
        "test",
        "train",
        "valid",
    ]


def test_by_column_the_splits_column_need_not_be_a_field(log):
    split = {"kind": "column", "column": "user", "valid": ["u1"], "test": ["u2", "u3"]}
    report = run(log, recipe_of(categorical=(), split=split))
    assert report.rows == {"train": 940, "valid": 20, "test": 40}


@pytest.mark.parametrize(
    ("split", "named"),
    [
        ({"kind": "column", "column": "user", "valid": ["u1"], "test": ["nobody"]}, "test"),
        ({"kind": "key", "key": "user", "valid": 1e-9, "test": 0.1}, "valid"),
        ({"kind": "random", "valid": 0.1, "test": 1e-9}, "test"),
    ],
)
def test_a_split_that_leaves_nothing_is_refused_with_its_name_its_rule_and_all_counts(log, split, named):
    message = refusal(log, recipe_of(split=split))
    assert message.startswith(f"the split leaves no {named} rows (train ")
    assert f"kind: {split['kind']}" in message


def test_a_time_split_of_one_instant_is_refused(tmp_path):
    (tmp_path / "log.csv").write_text("y,n,t\n" + "0,1,5\n1,2,5\n" * 10)
    assert "the split leaves no train rows" in refusal(
        tmp_path, recipe_of("log.csv", ["n"], [], time="t", split={"kind": "time"})
    )


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ({"positive": [7]}, "the label is negative in all 1000 train rows; both classes are needed"),
        ({"positive": [0, 1]}, "the label is positive in all 1000 train rows"),
    ],
)
def test_a_constant_label_is_refused(log, label, message):
    recipe = recipe_of(label={"column": "y", **label}, split={"valid": 0, "test": 0})
    assert message in refusal(log, recipe)


def test_a_constant_regression_label_and_weights_that_are_all_zero_are_refused(tmp_path):
    (tmp_path / "log.csv").write_text("y,n,w\n" + "1,1,0\n1,2,0\n")
    whole = {"valid": 0, "test": 0}
    label = {"column": "y", "kind": "regression"}
    assert "the label is 1 in all 2 train rows" in refusal(
        tmp_path, recipe_of("log.csv", ["n"], [], label=label, split=whole)
    )
    with pytest.raises(DataError, match="column 'w': all 2 train rows have weight 0"):
        ingest(recipe_of("log.csv", ["n"], [], weight="w", split=whole), tmp_path, tmp_path / "again", Reporter())


@pytest.mark.parametrize("fields", [{"numeric": ["n"]}, {"categorical": ["n"]}])
def test_a_field_without_any_value_in_train_is_refused(tmp_path, fields):
    (tmp_path / "log.csv").write_text("y,n,m\n0,,1\n1,,1\n")
    recipe = recipe_of("log.csv", **{"numeric": [], "categorical": [], **fields}, split={"valid": 0, "test": 0})
    assert "column 'n': missing in all 2 train rows; drop it from features" in refusal(tmp_path, recipe)


def test_parts_without_rows_are_passed_over_with_one_note_and_refused_where_all_are_so(log):
    (log / "none").mkdir()
    whole = run(log, recipe_of("a.csv"), "whole")
    for name, text in (("b.csv", ""), ("c.csv", "row,y,n,user,t\n")):
        (log / name).write_text(text)
        (log / "none" / name).write_text(text)
    notes: list[str] = []
    reporter = Reporter()
    reporter.note = notes.append  # type: ignore[method-assign]
    assert run(log, recipe_of("[abc].csv"), "parts", reporter).rows == whole.rows
    assert notes == [f"{log}/b.csv: the file is empty: it is passed over (and 1 more like it)"]
    assert refusal(log, recipe_of("none")).endswith("b.csv: the file is empty")


def test_a_column_that_one_file_lacks_is_named(log):
    with pytest.raises(ColumnError, match=r"a.csv: no column 'users'; did you mean 'user'"):
        run(log, recipe_of(categorical=["users"]))


def test_files_that_disagree_on_a_columns_kind_are_refused(tmp_path):
    pl.DataFrame({"y": [0, 1], "c": [1, 2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"y": [0, 1], "c": [True, False]}).write_parquet(tmp_path / "b.parquet")
    message = refusal(tmp_path, recipe_of("*.parquet", [], ["c"], split={"valid": 0, "test": 0}))
    assert "b.parquet: column 'c' holds boolean values where training saw number" in message


class Witness(Reporter):
    """Keeps warnings and progress."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.done: list[float] = []

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    @contextmanager
    def work(self, title, total, unit):
        self.total = total
        meter = Meter()
        meter.update = lambda done, **_: self.done.append(done)
        yield meter


def test_progress_runs_over_the_files_bytes_and_bad_numbers_are_warned_of(log):
    with (log / "b.csv").open("a") as file:
        file.write("1,u1,many,0,1000\n")
    witness = Witness()
    report = run(log, recipe_of(bad_numbers="missing"), reporter=witness)
    assert witness.total == sum((log / name).stat().st_size for name in ("a.csv", "b.csv"))
    assert witness.done == sorted(witness.done)
    assert witness.done[-1] == witness.total
    assert witness.warnings == ["column 'n': 1 values are no finite numbers, counted as missing"]
    assert next(column.bad_numbers for column in report.columns if column.name == "n") == 1


def test_a_disk_that_takes_no_more_is_a_write_error(log):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(WriteError, match="cannot write"):
            run(log, recipe_of())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("label", "kind", "told"),
    [("maybe", "binary", "neither positive nor negative"), ("", "binary", "missing"), ("x", "regression", "'x'")],
)
def test_a_bad_label_is_told_with_its_line_whichever_way_the_file_is_read(log, label, kind, told):
    rows = [f"{row % 2},{row},u\n" for row in range(40)]
    rows[25] = f"{label},25,u\n"
    (log / "bad.csv").write_text("y,n,user\n" + "".join(rows))
    recipe = recipe_of("bad.csv", ["n"], ["user"], label={"column": "y", "kind": kind})
    with pytest.raises(DataError, match=r"bad\.csv:27: column 'y'") as raised:
        run(log, recipe)
    assert told in str(raised.value)


def test_missing_labels_that_the_recipe_lists_are_missing_whichever_way_the_file_is_read(log):
    (log / "bad.csv").write_text("y,n\n" + "1,5\n0,6\n-1.0,7\n" * 20)
    recipe = recipe_of("bad.csv", ["n"], [], format={"missing": ["-1"]})
    with pytest.raises(DataError, match=r"bad\.csv:4: column 'y': the label is missing"):
        run(log, recipe)
