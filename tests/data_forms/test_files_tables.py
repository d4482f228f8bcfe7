"""Delta and Iceberg tables, written by their own packages: their rows as of one state, and what makes a new one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.source.paths import expand_paths

CommandLine = Callable[..., tuple[int, str, str]]


def log(seed: int, rows: int = 90) -> pl.DataFrame:
    number = pl.int_range(rows)
    return pl.select(click=(number * 7 + seed) % 3 // 2, city=pl.concat_str(pl.lit("c"), number % 5), price=number / 10)


class DeltaTable:
    """The log's first state; all its rows are replaced, then some added."""

    title, extra = "Delta", "delta"

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("deltalake")
        self.path = folder

    def write(self, frame: pl.DataFrame, mode: Any) -> int:
        import deltalake

        frame.write_delta(str(self.path), mode=mode, delta_write_options={"partition_by": ["city"]})
        return deltalake.DeltaTable(str(self.path)).version()


class IcebergTable:
    """The same by a catalogue in a file."""

    title, extra = "Iceberg", "iceberg"

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("pyiceberg")
        pytest.importorskip("sqlalchemy")
        from pyiceberg.catalog.sql import SqlCatalog

        self._catalog = SqlCatalog("c", uri=f"sqlite:///{folder.parent}/c.db", warehouse=f"file://{folder.parent}")
        self._catalog.create_namespace("n")
        self._location, self.path = f"file://{folder}", folder
        self._table: Any = None

    def write(self, frame: pl.DataFrame, mode: Any) -> int:
        if self._table is None:
            self._table = self._catalog.create_table("n.t", schema=frame.to_arrow().schema, location=self._location)
        (self._table.overwrite if mode == "overwrite" else self._table.append)(frame.to_arrow())
        return int(self._table.current_snapshot().snapshot_id)


@pytest.fixture(params=[DeltaTable, IcebergTable], ids=["Delta", "Iceberg"])
def table(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    return request.param(tmp_path / "log")


def test_a_table_is_read_as_of_its_newest_state_or_the_one_that_the_recipe_names(
    table: Any, widedeep: CommandLine
) -> None:
    def told(*command: Any) -> Any:
        code, out, err = widedeep(*command)
        assert code == 0, err
        return json.loads(out)

    first = table.write(log(0), "append")
    assert widedeep("init", "log", "--label", "click", "-o", "r.yaml")[0] == 0
    assert "train: log\n" in Path("r.yaml").read_text()
    assert sum(told("ingest", "r.yaml", "--json")["rows"].values()) == 90
    table.write(log(1, 60), "overwrite")
    assert sum(told("ingest", "r.yaml", "--json")["rows"].values()) == 60
    last = table.write(log(2, 30), "append")
    assert sum(told("ingest", "r.yaml", "--json")["rows"].values()) == 90
    for version, rows, cached in ((first, 90, False), (first, 90, True), (last, 90, False)):
        found = told("ingest", "r.yaml", "--set", f"data.format.version={version}", "--json")
        assert (sum(found["rows"].values()), found["cached"]) == (rows, cached)

    pinned = told("train", "r.yaml", "--set", f"data.format.version={first}", "--set", "training.epochs=1", "--json")
    # New rows are read at their newest.
    assert told("predict", pinned["run"], "log", "-o", "s.csv", "--json")["rows"] == 90
    assert told("eval", pinned["run"], "log", "--json")["rows"] == 90


def test_a_delta_table_whose_path_its_reader_does_not_take_is_refused(
    tmp_path: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    DeltaTable(tmp_path / "log").write(log(0), "append")
    (tmp_path / "log").rename("Log é")
    code, _, err = widedeep("init", "Log é", "--label", "click")
    assert (code, "Log é: a Delta table whose path holds other characters" in " ".join(err.split())) == (3, True)


def test_an_unknown_state_and_a_version_of_what_is_no_table_are_refused(table: Any, widedeep: CommandLine) -> None:
    table.write(log(0), "append")
    assert widedeep("init", "log", "--label", "click", "-o", "r.yaml")[0] == 0
    code, _, err = widedeep("ingest", "r.yaml", "--set", "data.format.version=77")
    assert code == 3
    assert f"log: a {table.title} table that cannot be read at version 77: " in " ".join(err.split())
    log(0).write_csv("log.csv")
    code, _, err = widedeep("ingest", "r.yaml", "--set", "data.train=log.csv", "--set", "data.format.version=1")
    assert (code, "data.format.version is of a Delta or Iceberg table" in " ".join(err.split())) == (3, True)


def test_without_its_package_a_table_is_refused_with_what_to_install(
    table: Any, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.write(log(0), "append")

    def absent(*_: Any, **__: Any) -> pl.LazyFrame:
        raise ModuleNotFoundError("absent")

    monkeypatch.setattr(pl, f"scan_{table.extra}", absent)
    code, _, err = widedeep("init", "log", "--label", "click")
    assert (code, f"pip install 'widedeep[{table.extra}]'" in " ".join(err.split())) == (3, True)


def test_a_table_whose_newest_state_nobody_can_tell_is_refused(tmp_path: Path) -> None:
    for name in ("00001-a.metadata.json", "00002-b.metadata.json"):
        (tmp_path / "t/metadata").mkdir(parents=True, exist_ok=True)
        (tmp_path / "t/metadata" / name).write_text("{}")
    assert expand_paths(["t"], tmp_path) == [tmp_path / "t"]
    (tmp_path / "t/metadata/00002-c.metadata.json").write_text("{}")
    with pytest.raises(DataError, match=r"nobody can tell the newest state: there are 00002-b.*00002-c"):
        expand_paths(["t"], tmp_path)
