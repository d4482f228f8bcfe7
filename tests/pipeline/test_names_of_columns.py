"""A user's column may have any name: those that we use ourselves, in every role, change no score."""

import csv
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

Run = Callable[..., tuple[int, str, str]]

ROLES = ("number", "amount", "color", "tags", "moment", "label", "weight", "group", "user", "since", "kept")
"""What the columns are for; a plain table calls them so. `user` is the key of a side table too."""
NAMES = (
    "score", "score@text", "score@values", "score@weights", "score#missing", "score#buckets", "score#weights",
    "__label__", "__weight__", "__time__", "__group__", "#label", "#weight", "#group", "__side_key__",
    "__side_matched__", "label", "weight", "group", "value", "count", "len", "code", "row", "item", "list", "text",
    "hash", "bucket", "a/b", "..", "[red]", "x" * 300,
)  # fmt: skip
"""Names of columns that we add, now or before, and names that a folder or a table on a terminal might choke on."""
ROWS = 240


def write_table(folder: Path, names: dict[str, str]) -> None:
    draw = random.Random(5)
    rows = []
    for number in range(ROWS):
        row: dict[str, Any] = {
            "number": "" if draw.random() < 0.2 else draw.randint(0, 9),
            "amount": round(draw.random(), 3),
            "color": draw.choice(["red", "green", "blue"]),
            "tags": "|".join(f"{tag}:{draw.choice([1, 2])}" for tag in draw.sample("abc", 2)),
            "moment": f"2024-01-{1 + number % 28:02}T{number % 24:02}:00:00",
            "weight": draw.choice([1, 2]),
            "group": f"g{number % 20}",
            "user": f"u{draw.randint(0, 5)}",
            "since": f"2023-12-{1 + number % 7:02}T00:00:00",
            "kept": number,
        }
        row["label"] = int(draw.random() < (0.7 if row["color"] == "red" else 0.3))
        rows.append({names[role]: row[role] for role in ROLES})
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(names.values()))
        writer.writeheader()
        writer.writerows(rows)
    with (folder / "users.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [names["user"], names["number"]])
        writer.writeheader()
        writer.writerows({names["user"]: f"u{number}", names["number"]: number % 3} for number in range(5))


def write_recipe(folder: Path, names: dict[str, str]) -> None:
    recipe = {
        "name": "named",
        "data": {
            "train": "log.csv",
            "label": names["label"],
            "weight": names["weight"],
            "time": {"column": names["moment"]},
            "group": names["group"],
            "split": {"kind": "random", "valid": 0.2, "test": 0.2},
            "tables": {"users": {"files": "users.csv", "key": names["user"]}},
        },
        "features": {
            "numeric": [
                {"column": names["number"], "buckets": 4},
                {"column": names["amount"], "transform": "standard"},
            ],
            "categorical": [
                {"column": names["color"], "min_count": 1},
                {"column": names["number"], "name": f"{names['number']} as text"},
                {"column": f"users.{names['number']}", "name": "of user"},
            ],
            "multi_valued": [{"column": names["tags"], "separator": "|", "weight_separator": ":"}],
            "date_time": [{"column": names["moment"], "name": "the moment", "since": {"column": names["since"]}}],
        },
        "crosses": [
            {"fields": [names["number"], names["color"]], "min_count": 1},
            {"fields": [names["color"], names["tags"]], "buckets": "auto"},
        ],
        "model": {"deep": {"hidden": [4]}, "wide": {"folds": 2}},
        "training": {"epochs": 1, "batch_size": 64, "threads": 1},
    }
    (folder / "named.yaml").write_text(yaml.safe_dump(recipe))


def scores_and_metrics(widedeep: Run, folder: Path, names: dict[str, str]) -> tuple[Any, Any]:
    folder.mkdir()
    write_table(folder, names)
    write_recipe(folder, names)
    code, out, err = widedeep("train", folder / "named.yaml", "--work", folder, "--quiet", "--json")
    assert code == 0, err
    run = json.loads(out)["run"]
    keep = [names["kept"]] if names["kept"] != "score" else []
    kept = [part for name in keep for part in ("--keep", name)]
    code, _, err = widedeep("predict", run, folder / "log.csv", "-o", folder / "scores.parquet", *kept)
    assert code == 0, err
    scored = pl.read_parquet(folder / "scores.parquet")
    assert scored.columns == [*keep, "score"]
    assert [scored[name].to_list() for name in keep] == [list(map(str, range(ROWS)))] * len(keep)
    code, out, err = widedeep("eval", run, folder / "log.csv", "--json")
    assert code == 0, err
    return scored["score"].to_numpy(), json.loads(out)["metrics"]


def named(shift: int) -> dict[str, str]:
    """Another of the names for each role; over all shifts each name has each role once."""
    return {role: NAMES[(place + shift) % len(NAMES)] for place, role in enumerate(ROLES)}


@pytest.mark.parametrize("shifts", [range(start, len(NAMES), 6) for start in range(6)])
def test_names_that_we_use_ourselves_change_no_score_in_any_role(widedeep: Run, tmp_path: Path, shifts: range) -> None:
    scores, metrics = scores_and_metrics(widedeep, tmp_path / "plain", {role: role for role in ROLES})

    for shift in shifts:
        ours, its_metrics = scores_and_metrics(widedeep, tmp_path / str(shift), named(shift))

        np.testing.assert_allclose(ours, scores, atol=1e-6, err_msg=str(named(shift)))
        assert its_metrics == pytest.approx(metrics, abs=1e-5), named(shift)


@pytest.mark.parametrize(
    "names",
    [
        ("score", "amount", "len", "value", "moment"),
        ("count", "code", "bucket", "hash", "row"),
        ("#label", "__weight__", "item", "rows", "missing"),
    ],
)
def test_every_command_takes_columns_that_are_called_as_ours(widedeep: Run, tmp_path: Path, names: list[str]) -> None:
    called = {role: role for role in ROLES} | dict(
        zip(("number", "amount", "color", "tags", "moment"), names, strict=True)
    )
    write_table(tmp_path, called)
    write_recipe(tmp_path, called)
    recipe, log = tmp_path / "named.yaml", tmp_path / "log.csv"

    for arguments in (
        ["ingest", recipe],
        ["crosses", recipe],
        ["crosses", recipe, "--discover"],
        ["train", recipe, "--quiet"],
        ["crosses", recipe, "--weights"],
        ["eval", recipe, log, "--against", recipe],
        ["compare", recipe],
        ["report", recipe, "-o", tmp_path / "report.html"],
        ["init", log, "--label", "label"],
    ):
        work = [] if arguments[0] == "init" else ["--work", tmp_path]
        code, _, err = widedeep(*arguments, *work)
        assert code == 0, (arguments, err)


def test_a_field_may_be_called_as_a_cross_of_others(widedeep: Run, tmp_path: Path) -> None:
    names = {role: role for role in ROLES}
    plain, _ = scores_and_metrics(widedeep, tmp_path / "plain", names)

    ours, _ = scores_and_metrics(widedeep, tmp_path / "ours", names | {"amount": "color x number"})

    np.testing.assert_allclose(ours, plain, atol=1e-6)


@pytest.mark.parametrize("name", ["a\0", "\x01label", "a\x01weights"])
def test_a_name_that_could_be_ours_is_refused(widedeep: Run, tmp_path: Path, name: str) -> None:
    names = {role: role for role in ROLES}
    write_table(tmp_path, names)
    write_recipe(tmp_path, names | {"amount": name})

    code, _, err = widedeep("train", tmp_path / "named.yaml", "--work", tmp_path)

    assert code == 2
    assert "cannot be a column's name here (it holds the control character U+0000 or U+0001)" in err
