"""What gives the label away: `init` leaves out exactly the columns that `ingest` warns of."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from widedeep.profile.ingest import ingest
from widedeep.recipe.load import parse_recipe
from widedeep.reporting import Reporter
from widedeep.suggest.init import init_recipe

ROWS = 2400
Column = tuple[str, Callable[[list[int], random.Random], list[Any]]]
"""The kind of field that would take it, and its values by the clicks."""


def flipped(click: list[int], draw: random.Random, share: float) -> list[int]:
    return [1 - one if draw.random() < share else one for one in click]


LEAKS: dict[str, Column] = {
    "a copy in words": ("categorical", lambda click, draw: ["yes" if one else "no" for one in click]),
    "a copy with a few flips": ("categorical", lambda click, draw: flipped(click, draw, 0.02)),
    "a copy with a few flips as a number": ("numeric", lambda click, draw: flipped(click, draw, 0.02)),
    "an amount of clicks only": ("numeric", lambda click, draw: [draw.uniform(1, 9) if one else 0 for one in click]),
    "an amount, else missing": ("numeric", lambda click, draw: [draw.uniform(1, 9) if one else None for one in click]),
    "a time spent": (
        "numeric",
        lambda click, draw: [draw.uniform(9, 20) if one else draw.uniform(0, 9) for one in click],
    ),
    "an id of a click": (
        "categorical",
        lambda click, draw: [f"conversion-{draw.randrange(10**9)}" if one else None for one in click],
    ),
    "an amount of some clicks": (
        "numeric",
        lambda click, draw: [draw.uniform(1, 9) if one and draw.random() < 0.3 else None for one in click],
    ),
    "a reason of some misses": (
        "categorical",
        lambda click, draw: [f"why {draw.randrange(9)}" if not one and draw.random() < 0.3 else None for one in click],
    ),
    "codes of one class each": (
        "categorical",
        lambda click, draw: [f"code {draw.randrange(40)}{'ab'[one]}" for one in click],
    ),
    "a list with a telling item": (
        "multi_valued",
        lambda click, draw: [
            "|".join([*draw.sample("pqrst", draw.randrange(1, 4)), *["bought"] * one]) for one in click
        ],
    ),
    "far ahead of the others": (
        "numeric",
        lambda click, draw: [round(draw.gauss(2.7 * one, 1), 3) for one in click],
    ),
}
HONEST: dict[str, Column] = {
    "a strong score": ("numeric", lambda click, draw: [round(draw.gauss(1.5 * one, 1), 3) for one in click]),
    "a flag often wrong": ("categorical", lambda click, draw: flipped(click, draw, 0.1)),
    "rarely filled": ("categorical", lambda click, draw: ["x" if draw.random() < 0.1 else None for _ in click]),
    "mostly filled for clicks": (
        "numeric",
        lambda click, draw: [draw.uniform(1, 9) if draw.random() < (0.3 if one else 0.03) else None for one in click],
    ),
    "tags": ("multi_valued", lambda click, draw: ["|".join(draw.sample("pqrst", draw.randrange(1, 4))) for _ in click]),
}


def told(folder: Path, columns: dict[str, Column], rows: int = ROWS, rate: float = 0.3) -> tuple[set[str], set[str]]:
    """What `init` says gives the label away, and what `ingest` does where every column is a field."""
    draw = random.Random(1)
    click = [int(draw.random() < rate) for _ in range(rows)]
    table: dict[str, list[Any]] = {"click": click}
    features: dict[str, list[Any]] = {"numeric": [], "categorical": [], "multi_valued": []}
    for name, (kind, values) in columns.items():
        table[name] = values(click, draw)
        features[kind].append({"column": name, "separator": "|"} if kind == "multi_valued" else name)
    pl.DataFrame(table, strict=False).write_csv(folder / "log.csv")
    text = init_recipe([str(folder / "log.csv")], "click", recipe_folder=folder).text
    by_init = {name for name in columns if f"{name}: gives the label away" in text.replace('"', "")}
    recipe = parse_recipe(f"data: {{train: log.csv, label: click}}\nfeatures: {features}", "test", folder, "t").recipe
    (folder / "typed").mkdir()
    report = ingest(recipe, folder, folder / "typed", Reporter())
    return by_init, {finding.column for finding in report.warnings if finding.kind == "leak"}


PLAIN: dict[str, Column] = {
    "city": ("categorical", lambda click, draw: [draw.choice(["oslo", "rome", "lima"]) for _ in click]),
}


@pytest.mark.parametrize("name", LEAKS)
def test_init_leaves_out_and_ingest_warns_of_a_column_that_gives_the_label_away(tmp_path: Path, name: str) -> None:
    assert told(tmp_path, PLAIN | {name: LEAKS[name]}) == ({name}, {name})


@pytest.mark.parametrize("name", HONEST)
def test_init_leaves_out_and_ingest_warns_of_no_honest_column(tmp_path: Path, name: str) -> None:
    assert told(tmp_path, PLAIN | {name: HONEST[name]}) == (set(), set())


def test_among_many_columns_both_name_the_same(tmp_path: Path) -> None:
    columns = {name: column for name, column in (LEAKS | HONEST | PLAIN).items() if name != "far ahead of the others"}
    by_init, by_ingest = told(tmp_path, columns)
    assert by_init == by_ingest == set(columns) - set(HONEST) - set(PLAIN)


@pytest.mark.parametrize(("rows", "expected"), [(30, {"group"}), (6, set())])
def test_of_a_few_rows_only_values_of_one_label_each_are_told(tmp_path: Path, rows: int, expected: set[str]) -> None:
    columns: dict[str, Column] = {
        "group": ("categorical", lambda click, draw: [f"{'ab'[one]}{row % 2}" for row, one in enumerate(click)]),
        "other": ("categorical", lambda click, draw: [f"v{row % 3}" for row in range(len(click))]),
    }
    by_init, by_ingest = told(tmp_path, columns, rows, rate=0.5)
    assert by_init == by_ingest == expected


def test_of_an_amount_only_a_near_copy_gives_the_label_away(tmp_path: Path) -> None:
    draw = random.Random(2)
    paid = [round(draw.uniform(0, 100), 2) for _ in range(ROWS)]
    columns = {
        "paid": paid,
        "with tax": [round(1.2 * amount, 2) for amount in paid],
        "listed": [round(amount + draw.gauss(0, 5), 2) for amount in paid],
    }
    pl.DataFrame(columns).write_csv(tmp_path / "log.csv")
    text = init_recipe([str(tmp_path / "log.csv")], "paid", recipe_folder=tmp_path).text
    assert "with tax: gives the label away: held-out R²" in text
    assert "listed: gives" not in text
    data = "data: {train: log.csv, label: {column: paid, kind: regression}}"
    recipe = parse_recipe(f"{data}\nfeatures: {{numeric: [with tax, listed]}}", "test", tmp_path, "t").recipe
    (tmp_path / "typed").mkdir()
    report = ingest(recipe, tmp_path, tmp_path / "typed", Reporter())
    assert [finding.column for finding in report.warnings if finding.kind == "leak"] == ["with tax"]
