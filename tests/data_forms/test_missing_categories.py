"""Categories of pandas with missing values in Arrow files, whose keys Polars takes for faults."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from widedeep.errors import DataError
from widedeep.recipe.schema import FormatSettings
from widedeep.source import columnar_blocks, unknown_types
from widedeep.source.sources import read_blocks

CommandLine = Callable[..., tuple[int, str, str]]

ROWS = 90
VALUES: Mapping[str, list[Any]] = {
    "text": ["a", "b", None],
    "number": [1, 20, None],
    "fraction": [None, 2.5, 0.5],
    "flag": [True, None, False],
    "date": [pd.Timestamp("2024-01-05"), pd.Timestamp("2024-02-29"), None],
}
RECIPE = """\
name: r
data: {{train: {file}, label: y, split: {{valid: 0.2, test: 0}}}}
features:
  categorical: [text, flag, date, number, z]
  numeric: [fraction]
model: {{deep: {{hidden: [4]}}}}
training: {{epochs: 1, threads: 1}}
"""


def table() -> pd.DataFrame:
    columns: dict[str, Any] = {
        name: pd.Categorical([values[(row + row // 7) % 3] for row in range(ROWS)]) for name, values in VALUES.items()
    }
    return pd.DataFrame({**columns, "z": ["u", "v"] * (ROWS // 2), "y": [row % 5 < 2 for row in range(ROWS)]})


def write_stream(frame: pd.DataFrame, path: Path) -> None:
    rows = pa.Table.from_pandas(frame, preserve_index=False)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, rows.schema) as stream:
        stream.write_table(rows)


WRITERS: Mapping[str, Callable[[pd.DataFrame, Path], None]] = {
    "packed.feather": lambda frame, path: frame.to_feather(path),
    "plain.feather": lambda frame, path: frame.to_feather(path, compression="uncompressed"),
    "stream.arrows": write_stream,
    "stream.arrow": write_stream,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    table().to_parquet("log.parquet", index=False)
    for name, write in WRITERS.items():
        write(table(), Path(name))
    return tmp_path


def test_categories_with_missing_values_are_suggested_trained_on_and_scored_as_in_parquet(
    folder: Path, widedeep: CommandLine
) -> None:
    (folder / "r.yaml").write_text(RECIPE.format(file="log.parquet"))
    assert widedeep("train", "r.yaml", "--work", "w")[0] == 0
    assert widedeep("predict", "r.yaml", "log.parquet", "-o", "expected.parquet", "--work", "w")[0] == 0
    expected = pl.read_parquet("expected.parquet")["score"]
    for name in WRITERS:
        assert widedeep("predict", "r.yaml", name, "-o", "s.parquet", "--work", "w", "--force")[0] == 0, name
        assert pl.read_parquet("s.parquet")["score"].equals(expected), name
        assert widedeep("init", name, "--label", "y", "-o", f"{name}.yaml")[0] == 0, name
    (folder / "own.yaml").write_text(RECIPE.format(file="packed.feather"))
    assert widedeep("train", "own.yaml", "--work", "w")[0] == 0


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("columns", [None, ["text"], ["z", "flag", "y"]])
def test_blocks_hold_the_values_of_parquet_in_the_order_that_is_asked_for(
    name: str, columns: list[str] | None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(columnar_blocks, "BLOCK_ROWS", 32)
    frames = [
        pl.concat(block.frame for block in read_blocks(folder / file, FormatSettings(), columns, name=file))
        for file in (name, "log.parquet")
    ]
    assert frames[0].columns == (columns or list(table().columns))
    assert frames[0].to_dict(as_series=False) == frames[1].to_dict(as_series=False)


@pytest.mark.parametrize("name", ["packed.feather", "stream.arrows"])
def test_without_pyarrow_the_message_says_what_is_wrong_and_what_to_do(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unknown_types, "read_around", lambda *_: None)
    monkeypatch.setattr(unknown_types, "categories_of", lambda *_: None)

    with pytest.raises(DataError, match=rf"{name}: a column of categories has missing values .* install pyarrow"):
        list(read_blocks(folder / name, FormatSettings(), ["text", "z"], name=name))
