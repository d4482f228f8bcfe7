"""A run scores and measures frames of any library as it does files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sample_projects import only_json

import widedeep as wd
from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.reporting import Reporter
from widedeep.scoring import predict, scorer
from widedeep.scoring.scorer import Scorer
from widedeep.table.typed import Typing

Widedeep = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(trained: Path) -> wd.Run:
    return wd.open_run("runs/small/latest", work_dir=trained)


@pytest.fixture(scope="module")
def texts(trained: Path) -> pl.DataFrame:
    """New rows as the CSV has them: all columns texts, nothing null."""
    return pl.read_csv(trained / "new.csv", infer_schema=False).fill_null("")


@pytest.fixture(scope="module")
def typed(trained: Path) -> pl.DataFrame:
    """The same rows with numbers as numbers and nulls."""
    return pl.read_csv(trained / "new.csv")


@pytest.fixture
def told(trained: Path, tmp_path: Path, widedeep: Widedeep) -> pl.Series:
    """What the command says of these rows."""
    code, _, err = widedeep("predict", trained / "runs/small/latest", trained / "new.csv", "-o", tmp_path / "s.parquet")
    assert code == 0, err
    return pl.read_parquet(tmp_path / "s.parquet")["score"]


class OtherLibrary:
    """A table of which nothing is known but that it has the Arrow C stream."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self._frame = frame

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._frame.__arrow_c_stream__(requested_schema)


def as_categories(frame: pl.DataFrame) -> pl.DataFrame:
    shapes = pl.Enum(frame["shape"].drop_nulls().unique().sort())
    return frame.with_columns(pl.col("color", "user").cast(pl.Categorical), pl.col("shape").cast(shapes))


@pytest.mark.parametrize(
    "given",
    [
        lambda frame: frame,
        lambda frame: frame.lazy(),
        as_categories,
        OtherLibrary,
        lambda frame: frame.with_columns(pl.col("age").cast(pl.Float32), pl.col("price").cast(pl.Decimal(12, 2))),
        lambda frame: frame.select(reversed(frame.columns)).drop("click", "id"),
    ],
    ids=["frame", "lazy", "categories", "arrow stream", "other types", "other order, no label"],
)
def test_a_frame_is_scored_as_the_command_scores_its_file_bit_by_bit(
    given: Callable[[pl.DataFrame], Any], run: wd.Run, typed: pl.DataFrame, told: pl.Series
) -> None:
    assert run.predict(given(typed))["score"].equals(told)


def test_a_frame_of_texts_is_scored_as_the_file_that_it_was_read_from(
    run: wd.Run, texts: pl.DataFrame, told: pl.Series
) -> None:
    assert run.predict(texts)["score"].equals(told)


def test_files_and_a_query_over_files_are_scored_alike(run: wd.Run, trained: Path, told: pl.Series) -> None:
    file = trained / "new.csv"

    for rows in (file, str(file), [file], pl.scan_csv(file)):
        assert run.predict(rows)["score"].equals(told)


def test_a_lazy_frame_is_run_once_however_many_blocks_it_gives(
    run: wd.Run, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from widedeep.source import frames

    monkeypatch.setattr(frames, "BLOCK_ROWS", 50)
    seen = 0

    def counted(frame: pl.DataFrame) -> pl.DataFrame:
        nonlocal seen
        seen += frame.height
        return frame

    scores = run.predict(typed.lazy().map_batches(counted, streamable=True), keep="id")

    assert seen == typed.height
    assert scores["id"].equals(typed["id"])


@pytest.mark.parametrize("index", [None, "user"])
def test_a_frame_of_pandas_is_scored_and_its_index_is_a_column(
    index: str | None, run: wd.Run, trained: Path, told: pl.Series
) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.read_csv(trained / "new.csv").astype({"color": "category"})

    scores = run.predict(frame if index is None else frame.set_index(index), keep="user")

    assert scores["score"].equals(told)
    assert scores["user"].to_list() == list(frame["user"])


def test_a_table_of_pyarrow_and_its_batches_are_scored(run: wd.Run, typed: pl.DataFrame, told: pl.Series) -> None:
    pytest.importorskip("pyarrow")
    table = typed.to_arrow()

    assert run.predict(table)["score"].equals(told)
    assert run.predict(table.to_reader(max_chunksize=7))["score"].equals(told)


def test_kept_columns_stand_beside_the_scores_in_the_order_of_the_rows(run: wd.Run, typed: pl.DataFrame) -> None:
    rows = as_categories(typed).reverse()

    scores = run.predict(rows, keep=["id", "shape"])

    assert scores.schema == {"id": pl.Int64, "shape": pl.String, "score": pl.Float32}
    assert scores["id"].equals(rows["id"])
    assert scores["shape"].equals(rows["shape"].cast(pl.String))


@pytest.mark.parametrize("lazy", [False, True])
def test_no_rows_have_no_scores(lazy: bool, run: wd.Run, typed: pl.DataFrame) -> None:
    rows = typed.clear()

    scores = run.predict(rows.lazy() if lazy else rows, keep="price")

    assert scores.schema == {"price": pl.Float64, "score": pl.Float32}
    assert scores.is_empty()


def test_a_second_prediction_does_not_load_the_run_again(
    trained: Path, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Path] = []
    load = Scorer.load

    def counted(path: Path, **options: bool) -> Scorer:
        loads.append(path)
        return load(path, **options)

    monkeypatch.setattr(Scorer, "load", counted)
    run = wd.open_run(trained / "runs/small/latest")
    first = run.predict(typed)

    assert run.predict(typed).equals(first)
    assert run.evaluate(typed).rows == typed.height
    assert loads == [run.path]


def test_a_run_is_measured_on_a_frame_as_the_command_measures_its_file(
    run: wd.Run, trained: Path, typed: pl.DataFrame, widedeep: Widedeep
) -> None:

    _, out, _ = widedeep("eval", trained / "runs/small/latest", trained / "new.csv", "--json")

    assert run.evaluate(typed).metrics == only_json(out)["metrics"]


def test_a_run_is_measured_on_its_own_test_rows_by_default(run: wd.Run) -> None:
    result = run.evaluate()

    assert (result.split, result.rows) == ("test", run.metrics["test"]["rows"])
    assert result.metrics["auc"] == pytest.approx(run.metrics["test"]["auc"], abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            lambda frame: frame.drop("shape"),
            ColumnError,
            "the frame: no column 'shape'. It has: id, color, user, price, age, click",
        ),
        (
            lambda frame: frame.with_columns(price=pl.Series(["1"] * 16 + ["dear"] + ["2"] * 283)),
            DataError,
            "the frame: row 17: column 'price': 'dear' is not a finite number",
        ),
        (
            lambda frame: frame.with_columns(price=pl.lit(None, dtype=pl.List(pl.Float64))),
            DataError,
            "the frame: column 'price' holds",
        ),
        (
            lambda frame: frame.lazy().with_columns(pl.col("gone")),
            DataError,
            "the frame: the query of the lazy frame fails: ",
        ),
        (lambda frame: frame["price"], DataError, "the frame: its rows cannot be read as Arrow: "),
        (lambda frame: frame.to_dict(as_series=False), UsageError, "not a value of type dict"),
        (lambda frame: [], UsageError, "not an empty list"),
        (lambda frame: "gone.csv", DataError, "gone.csv: no such file"),
    ],
)
def test_what_cannot_be_scored_is_told_by_its_row_or_column(
    rows: Callable[[pl.DataFrame], Any], error: type[Exception], message: str, run: wd.Run, typed: pl.DataFrame
) -> None:
    with pytest.raises(error) as caught:
        run.predict(rows(typed))

    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (lambda frame: frame.drop("click"), ColumnError, "the frame: no column 'click'"),
        (lambda frame: frame.clear(), DataError, "the frame: has no rows to measure on"),
        (lambda frame: frame.with_columns(click=pl.lit(7)), DataError, "the frame: row 1: column 'click'"),
    ],
)
def test_what_cannot_be_measured_on_is_told(
    rows: Callable[[pl.DataFrame], Any], error: type[Exception], message: str, run: wd.Run, typed: pl.DataFrame
) -> None:
    with pytest.raises(error) as caught:
        run.evaluate(rows(typed))

    assert message in str(caught.value)


def test_new_rows_and_a_split_are_not_measured_at_once(run: wd.Run, typed: pl.DataFrame) -> None:
    with pytest.raises(UsageError, match="give it, or new rows, not both"):
        run.evaluate(typed, split="test")


def test_a_frame_of_side_tables_is_joined_as_a_file_is(tmp_path: Path) -> None:
    log = pl.DataFrame({"user": [f"u{row % 7}" for row in range(400)], "click": [row % 3 == 0 for row in range(400)]})
    users = pl.DataFrame({"user": [f"u{number}" for number in range(7)], "city": ["Bern", "Rom"] * 3 + ["Ulm"]})
    log.write_csv(tmp_path / "log.csv")
    users.write_csv(tmp_path / "users.csv")
    recipe = {
        "name": "joined",
        "data": {
            "train": tmp_path / "log.csv",
            "label": "click",
            "tables": {"users": {"files": tmp_path / "users.csv", "key": "user"}},
        },
        "features": {"categorical": ["user", "users.city"]},
        "model": {"kind": "wide"},
        "training": {"epochs": 1},
    }
    run = wd.train(recipe, work_dir=tmp_path)

    assert run.predict(log)["score"].equals(run.predict(tmp_path / "log.csv")["score"])
    with pytest.raises(ColumnError, match=r"the frame: the log has a column 'users.city' of its own"):
        run.predict(log.with_columns(pl.lit("Rom").alias("users.city")))


def refuse_queries(*_: object) -> None:
    raise AssertionError("a query was run")


@pytest.mark.parametrize("num_rows", [1, 50])
@pytest.mark.parametrize("kind", ["typed", "texts"])
def test_few_rows_are_scored_as_in_their_file_without_a_query(
    kind: str,
    num_rows: int,
    run: wd.Run,
    typed: pl.DataFrame,
    texts: pl.DataFrame,
    told: pl.Series,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(FeaturePlan, "encode", refuse_queries)
    monkeypatch.setattr(Typing, "apply", refuse_queries)
    frame = {"typed": typed, "texts": texts}[kind].head(num_rows)
    scores = run.predict(frame)
    assert scores.schema == {"score": pl.Float32}
    assert scores["score"].to_list() == pytest.approx(told.head(num_rows).to_list(), abs=1e-6)


def test_few_rows_of_types_that_only_a_query_reads_are_scored_too(
    run: wd.Run, typed: pl.DataFrame, told: pl.Series
) -> None:
    frame = as_categories(typed).with_columns(pl.col("price").cast(pl.Decimal(12, 2))).head(9)
    assert run.predict(frame)["score"].to_list() == pytest.approx(told.head(9).to_list(), abs=1e-6)


def test_few_rows_tell_of_the_missing_and_unseen_values_that_a_query_would_tell_of(
    run: wd.Run, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = typed.head(90).with_columns(shape=pl.lit("new"), age=None)
    notes: list[list[str]] = []
    for rows_by_dictionary in (256, 0):
        monkeypatch.setattr(predict, "ROWS_BY_DICTIONARY", rows_by_dictionary)
        monkeypatch.setattr(scorer, "ROWS_BY_DICTIONARY", rows_by_dictionary)
        notes.append([])
        reporter = Reporter()
        monkeypatch.setattr(reporter, "note", notes[-1].append)
        run.predict(frame, reporter=reporter)
    assert notes[0] == notes[1]
    assert "shape 90" in notes[0][1]
