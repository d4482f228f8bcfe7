"""Texts from data are shown on a terminal, never sent to it: no name and no value moves a cursor or turns a line."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from widedeep.figures import visible, visible_message

Run = Callable[..., tuple[int, str, str]]

SENT = "\x1b[31m", "\x07", "\r", "\u202e", "\u2028", "\x9b", "\u2066", "\x00", "\n"
"""What a terminal obeys, or what makes another line. Names of columns may hold all but U+0000."""
ODD = "".join(part for part in SENT if part != "\x00")
NUMBER, COLOR, TAGS, MOMENT, LABEL, GROUP, USER = (
    f"{letter}{part}{ODD}[red]" for letter, part in zip("ncdmlgu", ODD, strict=False)
)
ROWS = 300


def table(seed: int = 0) -> pl.DataFrame:
    draw = random.Random(seed)
    colors = [f"{ODD}{name}[bold]" for name in ("red", "green", "blue")]
    color = [draw.choice(colors) for _ in range(ROWS)]
    return pl.DataFrame(
        {
            NUMBER: [draw.random() for _ in range(ROWS)],
            COLOR: color,
            TAGS: [draw.sample([f"{ODD}a", "b", "c"], 2) for _ in range(ROWS)],
            MOMENT: [f"2024-01-{1 + row % 28:02}" for row in range(ROWS)],
            GROUP: [f"{ODD}g{row % 20}" for row in range(ROWS)],
            USER: [f"{ODD}u{draw.randint(0, 5 + seed)}" for _ in range(ROWS)],
            LABEL: [f"{ODD}yes" if draw.random() < (0.8 if value == colors[0] else 0.2) else "no" for value in color],
        }
    )


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with a recipe whose columns have such names, and tables of such values."""
    table().write_parquet(tmp_path / "log.parquet")
    table(1).write_parquet(tmp_path / "new.parquet")
    pl.DataFrame({USER: [f"{ODD}u{number}" for number in range(4)], COLOR: ["a", "b", "c", "d"]}).write_parquet(
        tmp_path / "users.parquet"
    )
    recipe = {
        "name": "odd",
        "data": {
            "train": "log.parquet",
            "label": {"column": LABEL, "positive": f"{ODD}yes"},
            "group": GROUP,
            "split": {"kind": "random", "valid": 0.2, "test": 0.2},
            "tables": {"users": {"files": "users.parquet", "key": USER}},
        },
        "features": {
            "numeric": [{"column": NUMBER, "buckets": 4}],
            "categorical": [{"column": COLOR, "buckets": 2}, USER, f"users.{COLOR}"],
            "multi_valued": [TAGS],
            "date_time": [MOMENT],
        },
        "crosses": [{"fields": [COLOR, NUMBER], "min_count": 1}, {"fields": [COLOR, USER], "buckets": 3}],
        "model": {"deep": {"hidden": [4]}, "wide": {"folds": 2}},
        "training": {"epochs": 1, "batch_size": 64, "threads": 1},
    }
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


def sent(text: str) -> list[str]:
    """What a terminal would obey in a command's output, whose own line breaks are its own."""
    return [part for part in SENT if part != "\n" and part in text]


def test_no_command_sends_what_names_and_values_hold(widedeep: Run, odd: Path) -> None:
    recipe, log, new = odd / "odd.yaml", odd / "log.parquet", odd / "new.parquet"
    seen = ""
    for arguments in (
        ["init", log, "--label", LABEL],
        ["ingest", recipe],
        ["crosses", recipe],
        ["crosses", recipe, "--discover"],
        ["train", recipe],
        ["train", recipe, "--seeds", "2", "--set", "training.device=cpu"],
        ["crosses", recipe, "--weights"],
        ["eval", recipe],
        ["eval", recipe, new],
        ["eval", recipe, new, "--against", recipe],
        ["compare", recipe],
        ["predict", recipe, new, "-o", odd / "scores.csv", "--keep", COLOR],
    ):
        work = [] if arguments[0] == "init" else ["--work", odd]
        code, out, err = widedeep(*arguments, *work)
        assert code == 0, (arguments, err)
        assert (arguments[0], sent(out), sent(err)) == (arguments[0], [], [])
        seen += out + err
    assert "\\x1b[31m" in seen
    assert "[red]" in seen


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["train", "{recipe}", "--set", f'features.numeric=["{ODD.encode("unicode_escape").decode()}"]'], 2),
        (["train", "{recipe}", "--set", f"features.numeric=[{json.dumps(COLOR)}]", "--set", "crosses=[]",
          "--set", "features.categorical=[]"], 3),
        (["train", "{recipe}", "--set", f"{ODD}=3"], 2),
        (["train", f"{ODD}.yaml"], 2),
        (["ingest", "{recipe}", "--set", "data.label.positive=never", "--set", 'data.label.negative=["no"]'], 3),
        (["init", "{log}", "--label", f"no{ODD}"], 2),
        (["predict", f"{ODD}", "{log}", "-o", "x.csv"], 4),
        ([f"{ODD}"], 2),
        (["train", "{recipe}", f"--{ODD}"], 2),
    ],
)  # fmt: skip
def test_no_error_sends_what_names_and_values_hold(widedeep: Run, odd: Path, arguments: list[str], code: int) -> None:
    written = [
        argument.replace("{recipe}", str(odd / "odd.yaml")).replace("{log}", str(odd / "log.parquet"))
        for argument in arguments
    ]

    found, out, err = widedeep(*written)

    assert (found, sent(out), sent(err)) == (code, [], []), err
    assert all(line.startswith("widedeep: ") for line in err.splitlines())


def test_json_is_exact_and_escapes_by_itself(widedeep: Run, odd: Path) -> None:
    code, out, _ = widedeep("ingest", odd / "odd.yaml", "--work", odd, "--json")

    assert (code, sent(out)) == (0, [])
    columns: list[dict[str, Any]] = json.loads(out)["columns"]
    assert COLOR in {column["column"] for column in columns}


def test_a_suggested_recipe_says_names_exactly_and_can_be_loaded(widedeep: Run, odd: Path) -> None:
    code, _, err = widedeep("init", odd / "log.parquet", "--label", LABEL, "-o", odd / "made.yaml")

    assert code == 0, err
    text = (odd / "made.yaml").read_text()
    assert sent(text) == []
    assert yaml.safe_load(text)["data"]["label"]["column"] == LABEL


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ä 価格 😀 a\u00a0b \u3000", "plain ä 価格 😀 a\u00a0b \u3000"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("\x1b[31m\x07\r\n\t\x9b", "\\x1b[31m\\x07\\r\\n\\t\\x9b"),
        ("\u202e\u2066\u2028\u2029\x85\ufeff", "\\u202e\\u2066\\u2028\\u2029\\x85\\ufeff"),
        ("\ud800", "\\ud800"),
        ("a\\b", "a\\b"),
    ],
)
def test_what_a_terminal_obeys_is_shown_and_the_rest_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_message_quotes_200_characters_of_a_value_or_a_name() -> None:
    long = "x y " * 100
    message = (
        f"the recipe's rule: column {'n' * 300!r} holds {long!r}, not 'short'; the label's {'m' * 300} is no one's"
    )

    shown = visible_message(message)

    assert shown == (
        f"the recipe's rule: column '{'n' * 200}…' holds '{long[:200]}…', not 'short'; the label's {'m' * 200}… is no "
        "one's"
    )
    path = "/".join(["folder"] * 60)
    assert visible_message(f"{path}: no such file") == f"{path}: no such file"
