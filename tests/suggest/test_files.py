"""From files to a recipe: which split each belongs to, how its path is written, what is refused."""

import gzip
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tables import CITY, ROWS, clicks

from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import DataSettings
from widedeep.suggest.init import InitResult, init_recipe

TABLE = {"city": CITY, "n": [row % 70 / 7 for row in range(ROWS)], "click": clicks()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str, **changes: Any) -> list[str]:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        table = pl.DataFrame({**TABLE, **changes}, strict=False)
        table.write_parquet(name) if name.endswith("parquet") else table.write_csv(name)
    return list(names)


def init(files: list[str], folder: str = ".", **options: Any) -> InitResult:
    return init_recipe(files, options.pop("label", "click"), recipe_folder=Path(folder), **options)


def data_of(result: InitResult) -> DataSettings:
    return parse_recipe(result.text, "init", Path(), "log").recipe.data


@pytest.mark.parametrize(
    ("names", "train", "valid", "test"),
    [
        (["log.csv"], ["log.csv"], None, None),
        (["test.csv"], ["test.csv"], None, None),
        (["train.csv", "test.csv"], ["train.csv"], None, ["test.csv"]),
        (["Training.csv", "dev.csv", "testing.csv"], ["Training.csv"], ["dev.csv"], ["testing.csv"]),
        (["train.csv", "val.csv"], ["train.csv"], ["val.csv"], None),
        (["train.csv", "validation.csv"], ["train.csv"], ["validation.csv"], None),
        (["valid.csv", "test.csv"], ["valid.csv", "test.csv"], None, None),
        (["train.csv", "test.csv", "more.csv"], ["train.csv", "test.csv", "more.csv"], None, None),
        (["a.csv", "b.csv"], ["a.csv", "b.csv"], None, None),
        (["train.csv.gz", "test.csv"], None, None, None),
    ],
)
def test_files_are_of_the_split_that_they_are_called_after_where_all_are_and_train_is_among_them(
    names: list[str], train: Any, valid: Any, test: Any
) -> None:
    if train is None:
        write("train.csv", "test.csv")
        Path("train.csv.gz").write_bytes(gzip.compress(Path("train.csv").read_bytes()))
        train, test = ["train.csv.gz"], ["test.csv"]
    else:
        write(*names)
    data = data_of(init(names))
    assert [list(part) if part else None for part in (data.train, data.valid, data.test)] == [train, valid, test]


def test_named_files_come_before_files_called_after_a_split() -> None:
    write("train.csv", "test.csv", "other.csv")
    data = data_of(init(["train.csv"], valid=["other.csv"], test=["test.csv"]))
    assert (data.valid, data.test) == (("other.csv",), ("test.csv",))
    with pytest.raises(UsageError) as caught:
        init(["train.csv", "test.csv"], test=["other.csv"])
    assert str(caught.value) == "test.csv: is test by its name, and --test names other.csv: keep one of the two"


def test_a_file_is_in_one_split_only_however_its_path_is_written(here: Path) -> None:
    write("train.csv")
    with pytest.raises(UsageError) as caught:
        init(["train.csv"], test=[f"{here}/./train.csv"])
    assert str(caught.value) == f"{here}/train.csv: named as train and as test: a row may be in one split only"
    write("more.csv")
    assert data_of(init(["train.csv", "train.csv"], test=["more.csv"])).train == ("train.csv", "train.csv")


def test_paths_start_from_the_recipes_folder(here: Path) -> None:
    write("data/log.csv")
    (here / "recipes").mkdir()
    assert data_of(init(["data/log.csv"], "recipes")).train == ("../data/log.csv",)
    assert data_of(init(["data/log.csv"])).train == ("data/log.csv",)
    # An absolute path stays one, unless it lies below the recipe.
    assert data_of(init([f"{here}/data/log.csv"], "recipes")).train == (f"{here}/data/log.csv",)
    assert data_of(init([f"{here}/data/log.csv"])).train == ("data/log.csv",)


def test_a_path_that_is_no_text_is_refused() -> None:
    write("log.csv")
    name = os.fsdecode(b"l\xff.csv")
    Path("log.csv").rename(name)
    with pytest.raises(UsageError, match="the path is not valid text, which a recipe must be: rename the file"):
        init([name])


@pytest.mark.parametrize(
    ("names", "options", "name"),
    [
        (["my log.csv"], {}, "my-log"),
        (["clicks.ndjson.csv"], {}, "clicks.ndjson"),
        (["log.csv"], {"name": "other"}, "other"),
    ],
)
def test_the_recipe_is_called_after_the_first_file(names: list[str], options: dict[str, str], name: str) -> None:
    write(*names)
    assert f"\nname: {name}\n" in init(names, **options).text


def test_columns_that_another_split_lacks_are_left_out_and_told_by_file() -> None:
    write("train.csv", late=["x", "y", "z"] * 200, later=list("abcd") * 150, odd=list("ef") * 300)
    write("valid.csv", odd=list("ef") * 300)
    write("test.csv", late=["x", "y", "z"] * 200, later=list("abcd") * 150)
    result = init(["train.csv", "valid.csv", "test.csv"])
    assert result.notes == (
        "valid.csv lacks late, later, which the train files have: left out",
        "test.csv lacks odd, which the train files have: left out",
    )
    assert "#   late: valid.csv has no such column" in result.text
    assert "#   odd: test.csv has no such column" in result.text


def test_of_a_packed_file_of_another_split_the_head_is_read_alone() -> None:
    write("train.csv")
    rows = "city,click,other\n" + "".join(f"a{row * 7919 % 100_003},{row % 2},x\n" for row in range(300_000))
    packed = gzip.compress(rows.encode(), 1)
    Path("valid.csv.gz").write_bytes(packed[: len(packed) * 9 // 10])  # reading on would be refused
    result = init(["train.csv", "valid.csv.gz"])
    assert "valid: valid.csv.gz" in result.text


@pytest.mark.parametrize("option", ["time", "group"])
def test_a_time_and_a_group_must_be_in_every_split_and_readable(option: str) -> None:
    write("train.csv", other=list(range(ROWS)))
    write("test.csv")
    with pytest.raises(ColumnError) as caught:
        init(["train.csv", "test.csv"], **{option: "other"})
    assert str(caught.value) == f"--{option} other: test.csv has no such column; every split needs it"
    with pytest.raises(ColumnError, match=r"train.csv: no column 'othr'; did you mean 'other'"):
        init(["train.csv"], **{option: "othr"})
    pl.DataFrame({**TABLE, "raw": [b"\xff"] * ROWS}).write_parquet("raw.parquet")
    with pytest.raises(ColumnError) as caught:
        init(["raw.parquet"], **{option: "raw"})
    assert str(caught.value) == (
        f"--{option} raw: cannot be used: holds bytes that are no text in UTF-8: mend the value, or leave the column "
        "out"
    )


def test_the_label_must_be_in_every_split() -> None:
    write("train.csv")
    pl.DataFrame({"city": CITY}).write_csv("test.csv")
    with pytest.raises(ColumnError, match=r"test.csv: no column 'click'"):
        init(["train.csv", "test.csv"])


def test_text_files_of_two_layouts_are_refused_and_of_other_kinds_they_are_not() -> None:
    write("train.csv")
    pl.DataFrame(TABLE).write_csv("test.csv", separator=";")
    with pytest.raises(DataError) as caught:
        init(["train.csv", "test.csv"])
    assert str(caught.value) == (
        "test.csv: read with separator ';', the train files with ',', and data.format holds for all: write them alike"
    )
    write("test.parquet")
    assert data_of(init(["train.csv", "test.parquet"])).test == ("test.parquet",)
    pl.DataFrame(TABLE).write_csv("bare.csv", include_header=False)
    write("other.csv", c3=clicks())
    with pytest.raises(DataError, match="read with header"):
        init(["bare.csv"], test=["other.csv"], label="c3")


def test_a_table_without_rows_is_refused() -> None:
    Path("log.csv").write_text("city,click\n")
    Path("empty.csv").write_text("")
    for files in (["log.csv"], ["log.csv", "empty.csv"]):
        with pytest.raises(DataError, match=r"log.csv: the file has a header and no rows"):
            init(files)
    pl.DataFrame(TABLE).clear().write_parquet("log.parquet")
    with pytest.raises(DataError, match=r"log.parquet: the file has no rows"):
        init(["log.parquet"])


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_a_file_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises((DataError, UsageError), match=name):
        init([name])
