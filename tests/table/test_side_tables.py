"""Side tables: the join equals a dict look-up, keys are one by their canonical text, and what is refused."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from heard import Heard
from hypothesis import assume, given
from hypothesis import strategies as st

from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.recipe.schema import DataSettings, FormatSettings
from widedeep.reporting import Reporter
from widedeep.source.blocks import RawBlock
from widedeep.table.side_tables import SideTables, needed_tables, side_table_files


def data(**tables) -> DataSettings:
    return DataSettings.model_validate({"train": "log.csv", "label": "click", "tables": tables})


def log_block(**columns) -> RawBlock:
    return RawBlock(pl.DataFrame(columns, strict=False), "log.csv", 0, 0, 2)


def load(folder: Path, needed: list[str], reporter: Reporter | None = None, replaced=None, **tables) -> SideTables:
    return SideTables.load(data(**tables), folder, needed, reporter or Reporter(), replaced=replaced)


USERS = "id,age,city\n1,30,Rome\n2,,Oslo\n3,50,\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder with `users.csv`."""
    (tmp_path / "users.csv").write_text(USERS)
    return tmp_path


# -------------------------------------------------------------------------------------------------------------- needed


def test_a_name_belongs_to_a_table_only_if_its_prefix_is_one():
    settings = data(users={"files": "u", "key": "id"}, items={"files": "i", "key": "id"})
    needed = ["users.age", "age", "items.a.b", "shops.age", "users", "users.city", "users.age", "x.users.age"]
    assert needed_tables(settings, needed) == {"users": ["age", "city"], "items": ["a.b"]}


def test_a_table_of_which_no_column_is_needed_is_not_looked_for(tmp_path):
    settings = data(users={"files": "none.csv", "key": "id"})
    assert side_table_files(settings, tmp_path, ["age"]) == {}
    tables = SideTables.load(settings, tmp_path, ["age"], Reporter())
    assert tables.log_columns(["age", "id"]) == ["age", "id"]
    block = log_block(age=[1])
    assert tables.join(block).frame.equals(block.frame)
    with pytest.raises(DataError, match=r"data.tables.users: none.csv: no such file"):
        side_table_files(settings, tmp_path, ["users.age"])


def test_of_the_log_its_own_columns_are_read_and_what_the_tables_are_joined_on(users):
    tables = load(users, ["users.age"], users={"files": "users.csv", "key": "id", "on": "user"})
    assert tables.log_columns(["price", "users.age", "click"]) == ["price", "click", "user"]
    assert tables.log_columns(["user", "users.age"]) == ["user"]


# ---------------------------------------------------------------------------------------------------------------- join


def test_rows_keep_their_order_and_get_the_columns_of_their_key(users):
    reporter = Heard()
    tables = load(users, ["users.city", "users.age"], reporter, users={"files": "users.csv", "key": "id", "on": "user"})
    block = log_block(user=["3", "1", None, "1", "9", "2", "7", "9", "8"], n=list(range(9)))
    joined = tables.join(replace(block, first_line=17))
    assert joined.place_of(2) == "log.csv:19"
    assert joined.frame.to_dict(as_series=False) == {
        "user": block.frame["user"].to_list(),
        "n": list(range(9)),
        "users.city": [None, "Rome", None, "Rome", None, "Oslo", None, None, None],
        "users.age": ["50", "30", None, "30", None, None, None, None, None],
    }
    assert reporter.warnings == []
    tables.join(log_block(user=["6"], n=[0]))
    tables.warn_unmatched()
    assert reporter.warnings == [
        "side table 'users': 5 rows of the log with a key that it lacks, such as '9', '7', '8', …; "
        "users.city, users.age are missing there"
    ]


def test_nothing_is_told_where_every_key_is_found_or_missing(users):
    reporter = Heard()
    tables = load(users, ["users.age"], reporter, users={"files": "users.csv", "key": "id"})
    tables.join(log_block(id=["1", None, "3"]))
    tables.warn_unmatched()
    assert reporter.warnings == []


@pytest.mark.parametrize("dtype", [pl.String, pl.Int8, pl.Float64, pl.Decimal(10, 2)])
@pytest.mark.parametrize("side_dtype", [pl.String, pl.Int64, pl.Float32])
def test_a_key_is_one_value_whatever_type_it_is_stored_in(tmp_path, dtype, side_dtype):
    side = pl.DataFrame({"id": pl.Series([1, 2]).cast(side_dtype), "v": ["one", "two"]})
    if side_dtype == pl.String:
        side = side.with_columns(id=pl.Series(["1", "2"]))
    side.write_parquet(tmp_path / "side.parquet")
    tables = load(tmp_path, ["side.v"], side={"files": "side.parquet", "key": "id"})
    keys = pl.Series("id", [2, 1, 2]).cast(pl.Int64).cast(dtype)
    block = RawBlock(pl.DataFrame([keys]), "log", 0, 0)
    assert tables.join(block).frame["side.v"].to_list() == ["two", "one", "two"]


def test_dates_meet_their_texts_and_the_tables_columns_keep_their_types(tmp_path):
    days = pl.DataFrame({"day": [date(2024, 1, 2)], "holiday": [True], "tags": [["a", "b"]], "n": [7]})
    days.write_parquet(tmp_path / "days.parquet")
    tables = load(tmp_path, ["days.holiday", "days.tags", "days.n"], days={"files": "days.parquet", "key": "day"})
    frame = tables.join(log_block(day=["2024-01-02", "2024-01-03"])).frame
    assert frame.dtypes[1:] == [pl.Boolean, pl.List(pl.String), pl.Int64]
    assert frame.rows() == [("2024-01-02", True, ["a", "b"], 7), ("2024-01-03", None, None, None)]


def test_two_tables_may_share_a_key_of_the_log_and_give_the_key_itself(users):
    (users / "vip.ndjson").write_text('{"user": 3, "since": 1999}\n')
    tables = load(
        users,
        ["users.id", "vip.since", "users.age"],
        users={"files": "users.csv", "key": "id", "on": "user"},
        vip={"files": "vip.ndjson", "key": "user"},
    )
    assert tables.log_columns(["users.id", "vip.since", "users.age"]) == ["user"]
    frame = tables.join(log_block(user=["3.0", "3", "1"])).frame
    assert frame["users.id"].to_list() == ["3", "3", "1"]
    assert frame["vip.since"].to_list() == [1999, 1999, None]


def test_a_table_of_several_files_may_hold_a_column_in_several_types(tmp_path):
    (tmp_path / "side").mkdir()
    (tmp_path / "side" / "a.ndjson").write_text('{"id": 1, "v": 1, "w": 1}\n')
    (tmp_path / "side" / "b.ndjson").write_text('{"id": "2", "v": 0.1, "w": null}\n{"id": 3, "v": "x", "w": null}\n')
    tables = load(tmp_path, ["side.v", "side.w"], side={"files": "side", "key": "id"})
    frame = tables.join(log_block(id=[3, 2, 1])).frame
    assert frame["side.v"].to_list() == ["x", "0.1", "1"]
    assert frame["side.w"].to_list() == [None, None, 1]
    (tmp_path / "side" / "c.ndjson").write_text('{"id": 4, "v": ["x"], "w": null}\n')
    with pytest.raises(
        DataError, match=r"side table column 'side.v': its files hold values of different types \(Int64, "
    ):
        load(tmp_path, ["side.v"], side={"files": "side", "key": "id"})


_KEYS = st.none() | st.integers(-3, 3) | st.sampled_from(["a", "b", " a", "é", "1", "1.0", "-2"])


def _key(value: object) -> str | None:
    """What CSV makes of it, as the log's format reads it: trimmed, an empty text missing."""
    text = "" if value is None else str(value).strip(" ")
    return text or None


@given(
    side=st.dictionaries(_KEYS.filter(lambda key: key is not None), st.none() | st.integers(0, 9), min_size=1),
    logs=st.lists(st.lists(_KEYS, min_size=1, max_size=8), min_size=1, max_size=3),
)
def test_the_join_equals_a_look_up_in_a_dict(tmp_path_factory, side, logs):
    # Keys that are all numbers are compared as numbers.
    numbers = all(str(_key(key)).strip("-").replace(".", "").isdigit() for key in side)
    written = (
        (lambda text: text if text in (None, "a", "b", "é") else f"{float(text):g}") if numbers else lambda text: text
    )
    table = {written(_key(key)): value for key, value in side.items()}
    assume(len(table) == len({_key(key) for key in side}))
    folder = tmp_path_factory.mktemp("join")
    lines = "".join(json.dumps({"k": key, "v": value}) + "\n" for key, value in table.items())
    (folder / "side.ndjson").write_text(lines)
    reporter = Heard()
    tables = load(folder, ["side.v"], reporter, side={"files": "side.ndjson", "key": "k", "on": "key"})
    unmatched = 0
    for keys in logs:
        texts = [_key(key) for key in keys]
        joined = tables.join(log_block(key=texts, row=list(range(len(texts))))).frame
        assert joined["row"].to_list() == list(range(len(texts)))
        assert joined["key"].to_list() == texts
        assert joined["side.v"].to_list() == [table.get(written(text)) for text in texts]
        unmatched += sum(text is not None and written(text) not in table for text in texts)
    tables.warn_unmatched()
    assert [message.split(": ")[1].split(" row")[0] for message in reporter.warnings] == [str(unmatched)] * bool(
        unmatched
    )


# ------------------------------------------------------------------------------------------------------------- refused


def test_a_key_that_repeats_is_refused_with_both_places(users):
    (users / "more.csv").write_text("id,age\n4,1\n\n02,1\n2,1\n")
    with pytest.raises(DataError) as caught:
        load(users, ["users.age"], users={"files": ["users.csv", "more.csv"], "key": "id"})
    assert str(caught.value) == (
        f"{users}/more.csv:5: column 'id': the key '2' of side table 'users' stands already at {users}/users.csv:3; "
        "a key may have one row: drop one of them"
    )
    pl.DataFrame({"id": [1.5, 7.0, 7.0], "age": [1, 1, 1]}).write_parquet(users / "users.parquet")
    with pytest.raises(DataError, match=r"users.parquet: row 3: .* key '7' .* at .*users.parquet: row 2;"):
        load(users, ["users.age"], users={"files": "users.parquet", "key": "id"})


def test_a_missing_key_is_refused_with_its_place(users):
    (users / "users.csv").write_text("id,age\n1,1\n , 2\n")
    with pytest.raises(DataError, match=r"users.csv:3: column 'id': the key of side table 'users' is missing"):
        load(users, ["users.age"], users={"files": "users.csv", "key": "id"})


@pytest.mark.parametrize(("key", "needed"), [("id", "users.aga"), ("idd", "users.age")])
def test_a_column_that_the_table_lacks_is_refused_with_those_it_has(users, key, needed):
    with pytest.raises(ColumnError, match=r"users.csv: no column '.*'; did you mean .* It has: id, age, city"):
        load(users, [needed], users={"files": "users.csv", "key": key})


def test_a_fault_of_its_format_names_the_tables_own_setting(users):
    (users / "users.csv").write_bytes("id,city\n1,Köln\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"users.csv:2: .*set data.tables.users.format.encoding: latin-1"):
        load(users, ["users.city"], users={"files": "users.csv", "key": "id"})
    tables = load(users, ["users.city"], users={"files": "users.csv", "key": "id", "format": {"encoding": "latin-1"}})
    assert tables.join(log_block(id=["1"])).frame["users.city"].to_list() == ["Köln"]


def test_a_key_of_lists_is_refused_on_either_side(users):
    tables = load(users, ["users.age"], users={"files": "users.csv", "key": "id"})
    with pytest.raises(DataError, match=r"log.csv: column 'id', the key of a side table"):
        tables.join(log_block(id=[[1]]))
    (users / "side.ndjson").write_text('{"id": [1], "v": 1}\n')
    with pytest.raises(DataError, match=r"side.ndjson: column 'id', the key of a side table"):
        load(users, ["side.v"], side={"files": "side.ndjson", "key": "id"})


def test_a_column_of_the_log_that_is_called_as_one_of_a_table_is_refused(users):
    (users / "log.csv").write_text("id,users.age,users.city\n1,2,3\n")
    tables = load(users, ["users.age"], users={"files": "users.csv", "key": "id"})
    with pytest.raises(ColumnError, match=r"log.csv: the log has a column 'users.age' of its own"):
        tables.check_log(users / "log.csv", FormatSettings(), name="log.csv")
    (users / "log.csv").write_text("id,users.city\n1,3\n")
    tables.check_log(users / "log.csv", FormatSettings(), name="log.csv")


# ------------------------------------------------------------------------------------------------------------ replaced


def test_a_replaced_table_is_read_from_where_it_is_said_to_be_in_the_kind_its_ending_says(users, monkeypatch):
    (users / "here").mkdir()
    (users / "here" / "users.jsonl").write_text('{"id": 1, "age": 99}\n')
    monkeypatch.chdir(users / "here")
    tables = load(
        users,
        ["users.age"],
        replaced={"users": "users.jsonl"},
        users={"files": "users.csv", "key": "id", "format": {"kind": "csv"}},
    )
    assert tables.join(log_block(id=["1"])).frame["users.age"].to_list() == [99]


def test_a_table_that_is_not_there_at_scoring_is_refused_with_what_to_pass(tmp_path):
    settings = {"files": "users.csv", "key": "id"}
    with pytest.raises(DataError) as caught:
        load(tmp_path, ["users.age"], replaced={}, users=settings)
    assert str(caught.value) == (
        f"data.tables.users: users.csv: no such file ({tmp_path}/users.csv); "
        "pass --table users=FILE to say where it lies now"
    )
    with pytest.raises(DataError) as caught:
        load(tmp_path, ["users.age"], users=settings)
    assert "--table" not in str(caught.value)
    with pytest.raises(DataError, match=r"data.tables.users: gone.csv: no such file \(gone.csv\)$"):
        load(tmp_path, ["users.age"], replaced={"users": "gone.csv"}, users=settings)


def test_a_table_that_the_recipe_lacks_cannot_be_replaced(users):
    settings = {"files": "users.csv", "key": "id"}
    with pytest.raises(UsageError, match=r"--table user=…: .*; its side tables are users, items$"):
        load(users, ["users.age"], replaced={"user": "x"}, users=settings, items=settings)
    with pytest.raises(UsageError, match=r"--table user=…: .*; it has none$"):
        load(users, ["age"], replaced={"user": "x"})
