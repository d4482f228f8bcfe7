"""Times as logs write them, in texts and numbers: what is read, what `init` finds, and what is refused with the way out."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.table.parts import read_typed

CommandLine = Callable[..., tuple[int, str, str]]

START = datetime(2024, 1, 3, 5, tzinfo=UTC)
MOMENTS = [START + timedelta(hours=7 * row) for row in range(60)]
RECIPE = """\
name: r
data:
  train: {file}
  label: y
  split: {{valid: 0.2, test: 0.2}}
features:
  categorical: [z]
  date_time: [{{column: hour{format}, parts: [hour, weekday, day]}}]
model: {{deep: {{hidden: [4]}}}}
training: {{epochs: 1, threads: 1}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, values: list[Any]) -> Path:
    frame = pl.DataFrame(
        {
            "hour": values,
            "z": ["abcd"[row % 4] for row in range(len(values))],
            "y": [int(row * 7 % 5 < 2) for row in range(len(values))],
        }
    )
    writers = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".ndjson": frame.write_ndjson}
    writers[path.suffix](path)
    return path


def epoch(unit: int) -> list[int]:
    return [int(moment.timestamp()) * unit for moment in MOMENTS]


def written(form: str) -> list[str]:
    return [moment.strftime(form) for moment in MOMENTS]


FORMS: dict[str, tuple[list[Any], str | None]] = {
    "BigQuery, which leaves out a fraction of nothing": (
        [moment.strftime("%Y-%m-%d %H:%M:%S") + (".25 UTC", " UTC")[moment.day % 2] for moment in MOMENTS],
        "%Y-%m-%d %H:%M:%S%.f UTC",
    ),
    "Twitter": (written("%a %b %d %H:%M:%S +0000 %Y"), "%a %b %d %H:%M:%S %z %Y"),
    "Avazu": ([int(text) for text in written("%y%m%d%H")], "%y%m%d%H"),
    "digits of an hour": ([int(text) for text in written("%Y%m%d%H")], "%Y%m%d%H"),
    "hour without minutes": (written("%Y-%m-%d %H"), "%Y-%m-%d %H"),
    "digits of a day": ([int(text) for text in written("%Y%m%d")], "%Y%m%d"),
    "seconds": (epoch(1), None),
    "milliseconds": (epoch(10**3), "epoch_ms"),
    "microseconds": (epoch(10**6), "epoch_us"),
    "nanoseconds": (epoch(10**9), "epoch_ns"),
    "a comma before the fraction": (written("%Y-%m-%d %H:%M:%S,250"), None),
    "a comma in another form": (written("%d.%m.%Y %H:%M:%S,250"), "%d.%m.%Y %H:%M:%S,%f"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
@pytest.mark.parametrize("form", FORMS)
def test_a_form_of_time_is_found_by_init_trained_on_and_scored(
    folder: Path, widedeep: CommandLine, form: str, ending: str
) -> None:
    values, setting = FORMS[form]
    file = write(folder / f"log.{ending}", values)
    (folder / "r.yaml").write_text(
        RECIPE.format(file=file.name, format="" if setting is None else f', format: "{setting}"')
    )

    assert widedeep("init", file, "--label", "y", "--time", "hour", "-o", "suggested.yaml")[0] == 0
    suggested = (folder / "suggested.yaml").read_text()
    assert (setting or "time: hour") in suggested
    assert widedeep("ingest", "suggested.yaml")[0] == 0
    assert widedeep("train", "r.yaml")[0] == 0
    assert widedeep("eval", "r.yaml", file)[0] == 0
    assert widedeep("predict", "r.yaml", file, "-o", "scores.csv")[0] == 0
    assert pl.read_csv(folder / "scores.csv").height == 60


SAID = {
    "hours": ([int(text) for text in written("%y%m%d%H")], 'time: {column: x, format: "%y%m%d%H"}'),
    "days": ([int((START + timedelta(days=row)).strftime("%y%m%d")) for row in range(60)], 'format: "%y%m%d"}'),
    "seconds of many years": ([10**9 + 10**7 * row for row in range(60)], "time: x "),
}


@pytest.mark.parametrize("name", SAID)
def test_numbers_in_a_column_of_any_name_are_moments_where_time_says_so(
    folder: Path, widedeep: CommandLine, name: str
) -> None:
    values, setting = SAID[name]
    pl.read_csv(write(folder / "log.csv", values)).rename({"hour": "x"}).write_csv("log.csv")

    code, suggested, _ = widedeep("init", "log.csv", "--label", "y", "--time", "x")

    assert code == 0
    assert setting in suggested
    assert "date_time:" in suggested
    assert "#   x:" not in suggested


REFUSED: dict[str, tuple[list[Any], str, str]] = {
    "20240101": ([20240101 + row % 28 for row in range(60)], "", "to '%Y%m%d'"),
    "2024": ([2020 + row % 5 for row in range(60)], "", "to '%Y'"),
    "2024010100": ([2024010100 + row % 24 for row in range(60)], "", "to '%Y%m%d%H'"),
    "a row number": (list(range(60)), "", "is no time in seconds since 1970"),
    "milliseconds": (epoch(10**3), "", "epoch_ms"),
    "a zone's name": (written("%Y-%m-%d EST"), ', format: "%Y-%m-%d %Z"', "has %Z"),
}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
@pytest.mark.parametrize("name", REFUSED)
def test_a_number_is_no_time_by_itself_unless_it_can_be_seconds_since_1970(
    folder: Path, widedeep: CommandLine, name: str, ending: str
) -> None:
    values, setting, message = REFUSED[name]
    file = write(folder / f"log.{ending}", values)
    (folder / "r.yaml").write_text(RECIPE.format(file=file.name, format=setting))

    code, _, error = widedeep("ingest", "r.yaml")

    assert code == 3
    assert message in " ".join(error.split())
    assert "features.date_time" in error


def test_what_is_written_as_epoch_is_believed_to_be_one(folder: Path, widedeep: CommandLine) -> None:
    file = write(folder / "log.csv", list(range(0, 60 * 86400, 86400)))
    (folder / "r.yaml").write_text(RECIPE.format(file=file.name, format=", format: epoch"))

    assert widedeep("ingest", "r.yaml")[0] == 0


@pytest.mark.parametrize(
    ("values", "setting", "code"),
    [
        ([20240101 + row % 28 for row in range(60)], "hour", 3),
        ([20240101 + row % 28 for row in range(60)], '{column: hour, format: "%Y%m%d"}', 0),
        ([20240101 + row % 28 for row in range(60)], "{column: hour, format: epoch}", 0),
        ([2020 + row % 5 for row in range(60)], "hour", 3),
        (list(range(60)), "hour", 0),
    ],
)
def test_the_time_that_orders_the_rows_may_be_any_number_but_a_date_in_digits(
    folder: Path, widedeep: CommandLine, values: list[int], setting: str, code: int
) -> None:
    file = write(folder / "log.csv", values)
    text = RECIPE.format(file=file.name, format="").replace("label: y\n", f"label: y\n  time: {setting}\n")
    (folder / "r.yaml").write_text("\n".join(line for line in text.split("\n") if "date_time" not in line))

    assert widedeep("ingest", "r.yaml")[0] == code


def test_a_bad_time_counts_as_missing_where_the_recipe_says_so(folder: Path, widedeep: CommandLine) -> None:
    file = write(folder / "log.csv", [0, *epoch(1)[1:]])
    text = RECIPE.format(file=file.name, format="")
    (folder / "r.yaml").write_text(text)
    assert widedeep("ingest", "r.yaml")[0] == 3

    (folder / "r.yaml").write_text(text.replace("label: y\n", "label: y\n  bad_numbers: missing\n"))
    code, _, error = widedeep("ingest", "r.yaml")
    assert code == 0
    assert "1 values are no finite numbers" in " ".join(error.split())


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
def test_a_time_that_is_missing_everywhere_is_refused_by_name(folder: Path, widedeep: CommandLine, ending: str) -> None:
    file = write(folder / f"log.{ending}", [None] * 60)
    (folder / "r.yaml").write_text(RECIPE.format(file=file.name, format=""))

    code, _, error = widedeep("ingest", "r.yaml")

    assert code == 3
    assert "column 'hour': missing in all" in " ".join(error.split())


@pytest.mark.parametrize("ending", ["csv", "parquet", "ndjson"])
def test_the_last_moment_of_the_year_9999_is_a_moment_of_that_year(
    folder: Path, widedeep: CommandLine, ending: str
) -> None:
    never = datetime(9999, 12, 31, 23, 59, 59, 999_999)
    values = [moment.replace(tzinfo=None) if row % 3 else never for row, moment in enumerate(MOMENTS)]
    file = write(folder / f"log.{ending}", values)
    (folder / "r.yaml").write_text(RECIPE.format(file=file.name, format=""))

    code, out, _ = widedeep("ingest", "r.yaml", "--json")

    assert code == 0
    train = read_typed(folder / json.loads(out)["path"], "train")
    assert ("23", "Fri", "31") in train.select("hour.hour", "hour.weekday", "hour.day").rows()
