"""Where files lie: columns that stand in folders' names, names that look like patterns, marks in the middle of a file."""

import ast
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import csv_blocks
from widedeep.source.paths import expand_paths, partition_texts
from widedeep.source.sources import columns_in, read_blocks

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
name: placed
data:
  train: log
  label: click
  time: {column: dt, format: "%Y-%m-%d"}
  group: hour
  split: {kind: time, valid: 0.2, test: 0.2}
features:
  numeric: [hour]
  categorical: [city, ad]
model:
  deep: {hidden: [4]}
training:
  epochs: 1
  threads: 1
"""


def rows_of(path: Path, columns: list[str] | None = None, **settings: Any) -> pl.DataFrame:
    blocks = read_blocks(path, FormatSettings(**settings), columns, name=path.name, block_bytes=64)
    return pl.concat([block.frame for block in blocks])


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture(params=[0, 1 << 30], ids=["compiled", "plain"])
def hive(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Five days of two cities, one without a name, in folders; the hour is in folders too."""
    monkeypatch.setattr(csv_blocks, "_COMPILED_BYTES", request.param)
    draw = random.Random(1)
    for day in range(1, 6):
        for city in ("Z%C3%BCrich", "__HIVE_DEFAULT_PARTITION__"):
            lines = "".join(f"{draw.choice('xyz')},{draw.randint(0, 1)}\n" for _ in range(20))
            write(tmp_path / f"log/dt=2026-11-{day:02d}/city={city}/hour={day}/part-0.csv", "ad,click\n" + lines)
    (tmp_path / "placed.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_time_split_a_group_and_features_may_stand_in_folders_names(hive: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "placed.yaml", "--json")
    assert code == 0, err
    assert "gauc" in json.loads(out)["metrics"]["test"]
    code, out, _ = widedeep("ingest", "placed.yaml", "--json")
    told = json.loads(out)
    assert told["rows"] == {"train": 120, "valid": 40, "test": 40}
    assert {column["name"]: column["missing"]["train"] for column in told["columns"]}["city"] == 60


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_the_label_may_stand_in_folders_names_alone(
    ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = pl.DataFrame({"ad": ["a", "b", "c"] * 40, "price": [row / 7 for row in range(120)]})
    for click in (0, 1):
        path = tmp_path / f"log/click={click}/part.{ending}"
        path.parent.mkdir(parents=True)
        getattr(rows, f"write_{ending}")(path)

    assert widedeep("init", "log", "--label", "click", "-o", "r.yaml")[0] == 0
    assert widedeep("ingest", "r.yaml")[0] == 0
    code, _, error = widedeep("init", "log", "--label", "clack", "-o", "s.yaml")
    assert (code, "no column 'clack'" in " ".join(error.split())) == (2, True)


def test_one_file_in_such_folders_is_scored_by_the_names_of_its_folders(hive: Path, widedeep: CommandLine) -> None:
    assert widedeep("train", "placed.yaml")[0] == 0
    kept = ["--keep", "dt", "--keep", "city", "--keep", "hour"]
    file = "log/dt=2026-11-04/city=Z%C3%BCrich/hour=4/part-0.csv"
    code, one, err = widedeep("predict", "placed.yaml", file, "-o", "-", *kept)
    assert code == 0, err
    assert one.splitlines()[1].startswith("2026-11-04,Zürich,4,0.")
    assert widedeep("eval", "placed.yaml", file)[0] == 0
    code, whole, _ = widedeep("predict", "placed.yaml", "log", "-o", "-", *kept)
    of_file = [line for line in whole.splitlines() if line.startswith("2026-11-04,Zürich")]
    assert [line[:-2] for line in of_file] == [line[:-2] for line in one.splitlines()[1:]]
    assert sum(",,".join(["", ""]) in line for line in whole.splitlines()) == 100


def test_a_moved_partition_is_another_state_of_the_files(hive: Path, widedeep: CommandLine) -> None:
    """Of two links to one file, each has the columns of its own folder."""
    for day in range(1, 6):
        os.symlink(hive / f"log/dt=2026-11-{day:02d}", hive / f"log/dt=2026-12-{day:02d}")
    assert json.loads(widedeep("ingest", "placed.yaml", "--set", "data.train=log/dt=2026-11-*", "--json")[1])["rows"]
    told = json.loads(widedeep("ingest", "placed.yaml", "--set", "data.train=log/dt=2026-12-*", "--json")[1])
    assert not told["cached"]


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_column_of_both_the_file_and_the_folder_must_be_equal(tmp_path: Path, ending: str) -> None:
    frame = pl.DataFrame({"n": [1, 1, 1], "day": ["b", "b", "b"], "x": [1, 2, 3]})
    path = tmp_path / "log/day=b/n=1" / f"part.{ending}"
    path.parent.mkdir(parents=True)
    getattr(frame, f"write_{ending}")(path)
    assert rows_of(path).columns == ["n", "day", "x"]
    assert rows_of(path, ["x", "day"]).rows() == [(x, "b") for x in ((1, 2, 3) if ending == "parquet" else "123")]
    frame.with_columns(day=pl.Series(["b", "c", "b"])).pipe(lambda table: getattr(table, f"write_{ending}")(path))
    assert rows_of(path, ["n"]).height == 3
    with pytest.raises(DataError, match=r"part.*[23]: column 'day': holds 'c', and the folder is called day=b: "):
        rows_of(path, ["day"])


def test_columns_of_folders_alone_are_read_and_named_behind_the_files_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a=1/b=2%2F3/c=NA/log.csv", "x,y\n1,2\n3,4\n")
    assert list(columns_in(path, FormatSettings(), name="log")) == ["x", "y", "a", "b", "c"]
    assert rows_of(path, ["c", "b"], missing=("", "NA")).rows() == [(None, "2/3")] * 2
    assert rows_of(path).row(1) == ("3", "4", "1", "2/3", "NA")


def test_a_url_of_one_file_has_the_columns_of_its_folders_and_a_glob_none() -> None:
    assert partition_texts("s3://bucket/log/a=1/b=x%20y/part.parquet") == {"a": "1", "b": "x y"}
    assert partition_texts("https://host/a=1/part.parquet?b=2/c") == {"a": "1"}
    assert partition_texts("s3://bucket/a=*/part.parquet") == {}


def test_names_that_begin_with_a_dot_or_a_line_are_no_data_unless_the_pattern_begins_so(tmp_path: Path) -> None:
    for name in ("log/a.csv", "log/_SUCCESS", "log/_temporary/b.csv", "log/.c.csv", "log/_d.csv", "log/d=1/_e.csv"):
        write(tmp_path / name, "x\n1\n")

    def names(pattern: str) -> list[str]:
        return [str(Path(path).relative_to(tmp_path)) for path in expand_paths([pattern], tmp_path)]

    write(tmp_path / "log/d=1/f.csv", "x\n1\n")
    assert names("log") == names("log/*") == names("log/**/*.csv") == ["log/a.csv", "log/d=1/f.csv"]
    assert names("log/_d*") == ["log/_d.csv"]
    assert names("log/_SUCCESS") == ["log/_SUCCESS"]


def test_a_folder_whose_name_looks_like_a_pattern_is_no_pattern(tmp_path: Path) -> None:
    for name in ("w[1]/a[1].csv", "w[1]/a1.csv", "w1/a1.csv", "w[1]/q?.csv", "w[1]/qq.csv"):
        write(tmp_path / name, "x\n1\n")

    def names(pattern: str, base: str = ".") -> list[str]:
        return [str(Path(path).relative_to(tmp_path)) for path in expand_paths([pattern], tmp_path / base)]

    assert names("w[1]/*") == ["w[1]/a1.csv", "w[1]/a[1].csv", "w[1]/q?.csv", "w[1]/qq.csv"]
    assert names("a[1].csv", "w[1]") == names("w[1]/a[1].csv") == ["w[1]/a[1].csv"]
    assert names("a[0-9].csv", "w[1]") == ["w[1]/a1.csv"]
    assert names("q?.csv", "w[1]") == ["w[1]/q?.csv"]
    assert names("w?/a1.csv") == ["w1/a1.csv"]


def test_places_of_ours_whose_names_look_like_patterns_are_no_patterns(
    project: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = project / "o[1]*?"
    odd.mkdir()
    monkeypatch.setenv("TMPDIR", str(odd))
    monkeypatch.setattr("tempfile.tempdir", None)
    os.rename("log.csv", odd / "log[1].csv")
    os.rename("small.yaml", odd / "small.yaml")
    work, train = ["--work", odd / "w[1]"], ["--set", f"data.train={odd / 'log[1].csv'}", "--set", "training.epochs=1"]
    for command in (
        ["init", odd / "log[1].csv", "--label", "click", "-o", odd / "made.yaml"],
        ["ingest", odd / "small.yaml", *work, *train],
        ["crosses", odd / "small.yaml", *work, *train],
        ["train", odd / "small.yaml", *work, *train],
        ["eval", odd / "small.yaml", *work],
        ["predict", odd / "small.yaml", odd / "log[1].csv", "-o", odd / "s.parquet", *work],
        ["predict", odd / "small.yaml", odd / "*.csv", "-o", odd / "s.csv", *work],
        ["compare", odd / "w[1]/runs/small"],
        ["synth", "-o", odd / "sample", "--rows", "400", "--shape", "criteo"],
    ):
        code, _, err = widedeep(*command)
        assert code == 0, (command, err)
    assert (
        pl.read_parquet(odd / "s.parquet", glob=False).height == pl.read_csv(odd / "s.csv", glob=False).height == 2000
    )


def test_no_place_of_ours_is_given_to_polars_as_a_pattern() -> None:
    """By default Polars takes `[`, `*` and `?` in a path for a pattern, and in `read_ipc` always."""
    calls = [
        (path.name, node)
        for path in (Path(__file__).parents[2] / "widedeep").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith(("pl.scan_", "pl.read_", "scan("))
    ]
    by_name = [(name, node) for name, node in calls if ast.unparse(node.func) in ("pl.read_ipc",)]
    assert {ast.unparse(node.args[0]) for _, node in by_name} == {"content"}
    files = ("pl.scan_ipc", "pl.scan_parquet", "pl.read_parquet", "scan")
    of_files = [(name, node) for name, node in calls if ast.unparse(node.func) in files]
    assert len(of_files) >= 8
    assert [name for name, node in of_files if "glob" not in {keyword.arg for keyword in node.keywords}] == []


def test_a_byte_order_mark_counts_as_one_at_the_front_of_the_file_only(tmp_path: Path) -> None:
    path = write(tmp_path / "log.csv", "\ufeffa,b\n" + "\ufeffx,1\n" * 40)
    assert rows_of(path).rows() == [("\ufeffx", "1")] * 40


def test_a_piped_file_may_be_stdin_by_its_name(trained: Path, tmp_path: Path) -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "widedeep_cli", "predict", trained / "runs/small/latest", "/dev/stdin", "-o", "-"]
    piped = subprocess.run(command, input=(trained / "new.csv").read_bytes(), capture_output=True, check=True).stdout
    with (trained / "new.csv").open("rb") as file:
        assert subprocess.run(command, stdin=file, capture_output=True, check=True).stdout == piped
    assert len(piped.splitlines()) == 301
