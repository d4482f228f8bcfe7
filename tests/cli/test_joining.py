"""Side tables and other sources on the command line: trained with, scored with, moved, changed, refused."""

import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
name: joined
data:
  train: log.csv
  label: click
  split: {kind: key, key: users.city, valid: 0.2, test: 0.2}
  tables:
    users: {files: users.csv, key: id, on: user}
    items: {files: items.ndjson, key: item}
    unused: {files: none.csv, key: id}
features:
  numeric: [{column: users.age, transform: standard}]
  categorical: [user, users.city, items.color]
crosses:
  - [users.city, items.color]
model:
  deep: {hidden: [8]}
training:
  epochs: 1
  batch_size: 64
  threads: 1
"""


def write_project(folder: Path) -> None:
    """`joined.yaml`, `log.csv` (600 rows), `users.csv` and `items.ndjson`, and the same log joined in `whole.csv`."""
    draw = random.Random(0)
    users = {user: (draw.randint(18, 80), f"city {draw.randrange(40)}") for user in range(80)}
    items = {item: draw.choice(["red", "green"]) for item in range(30)}
    (folder / "users.csv").write_text("id,age,city\n" + "".join(f"{u},{a},{c}\n" for u, (a, c) in users.items()))
    (folder / "items.ndjson").write_text("".join(json.dumps({"item": i, "color": c}) + "\n" for i, c in items.items()))
    rows = [(draw.randrange(80), draw.randrange(30)) for _ in range(600)]
    clicks = [int(draw.random() < (0.8 if items[item] == "red" else 0.2)) for _, item in rows]
    log = pl.DataFrame({"user": [u for u, _ in rows], "item": [i for _, i in rows], "click": clicks})
    log.write_csv(folder / "log.csv")
    log.head(50).write_csv(folder / "new.csv")
    whole = log.with_columns(
        pl.Series("users.age", [users[user][0] for user, _ in rows]),
        pl.Series("users.city", [users[user][1] for user, _ in rows]),
        pl.Series("items.color", [items[item] for _, item in rows]),
    )
    whole.write_csv(folder / "whole.csv")
    (folder / "joined.yaml").write_text(RECIPE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of such a project whose run is finished: to be copied."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder = tmp_path_factory.mktemp("joined")
    write_project(folder)
    train(load_recipe(folder / "joined.yaml"), folder, Reporter())
    return folder


@pytest.fixture
def joined(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the finished project, which is the current directory; its run reads side tables where it was trained."""
    shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that nothing was done with, which is the current directory."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(path: Path) -> list[float]:
    return pl.read_csv(path)["score"].to_list()


# ---------------------------------------------------------------------------------------------------------- train, score


def test_training_on_side_tables_gives_the_metrics_of_training_on_the_joined_log(
    fresh: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("train", "joined.yaml", "--json")
    assert code == 0, err
    whole = RECIPE.replace("log.csv", "whole.csv").replace("name: joined", "name: whole")
    start, end = whole.index("  tables:"), whole.index("features:")
    (fresh / "whole.yaml").write_text(whole[:start] + whole[end:])
    code, out_whole, err = widedeep("train", "whole.yaml", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"] == json.loads(out_whole)["metrics"]


def test_predict_and_eval_join_new_rows(joined: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep(
        "predict", "joined.yaml", "new.csv", "-o", "s.csv", "--keep", "users.city", "--keep", "item", "--json"
    )
    assert code == 0, err
    assert json.loads(out)["rows"] == 50
    kept = pl.read_csv("s.csv")
    whole = pl.read_csv("whole.csv").head(50)
    assert kept["users.city"].to_list() == whole["users.city"].to_list()
    assert kept["item"].to_list() == whole["item"].to_list()
    code, out, err = widedeep("eval", "joined.yaml", "log.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["metrics"]["auc"] > 0.6


def test_every_source_of_new_rows_gives_the_same_scores(
    joined: Path, widedeep: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = pl.read_csv("new.csv")
    new.write_ndjson("new.ndjson")
    new.write_parquet("new.parquet")
    new.write_ipc("new.feather")
    new.cast({"user": pl.Float64}).write_ndjson("floats.jsonl")
    assert widedeep("predict", "joined.yaml", "new.csv", "-o", "expected.csv")[0] == 0
    for source in ("new.ndjson", "new.parquet", "new.feather", "floats.jsonl", (joined / "new.csv").as_uri()):
        code, _, err = widedeep("predict", "joined.yaml", source, "-o", "s.csv", "--force")
        assert code == 0, err
        assert scores(Path("s.csv")) == scores(Path("expected.csv")), source
    for file, form in (("new.ndjson", "ndjson"), ("new.feather", "arrow")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(file).read_bytes())))
        code, _, err = widedeep("predict", "joined.yaml", "-", "-o", "s.csv", "--force", "--input-format", form)
        assert code == 0, err
        assert scores(Path("s.csv")) == scores(Path("expected.csv"))


def test_a_key_that_a_table_lacks_is_told_once_and_its_columns_are_missing(joined: Path, widedeep: CommandLine) -> None:
    Path("odd.csv").write_text("user,item\n777,1\n1,2\n,3\n777,4\n")
    code, out, err = widedeep("predict", "joined.yaml", "odd.csv", "-o", "s.csv", "--json")
    assert code == 0, err
    assert json.loads(out)["missing"]["users.city"] == 3
    (told,) = [line for line in err.splitlines() if "side table" in line]
    assert (
        "side table 'users': 2 rows of the log with a key that it lacks, such as '777'; users.age, users.city are"
        in told
    )


def test_a_log_in_ndjson_trains_the_model_that_the_same_log_in_csv_does(fresh: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "joined.yaml", "--json")
    assert code == 0, err
    pl.read_csv("log.csv").write_ndjson("log.ndjson")
    code, again, err = widedeep("train", "joined.yaml", "--json", "--set", "data.train=log.ndjson")
    assert code == 0, err
    assert json.loads(again)["metrics"] == json.loads(out)["metrics"]


@pytest.mark.parametrize(
    ("line", "code", "message"),
    [
        ('{"user": 1, "item": 2}', 3, "log.ndjson:602: column 'click': "),
        ('{"user": 1, "item": 2, "click": "yes"}', 3, "log.ndjson:602: column 'click': the label 'yes' is neither"),
        ('{"user": 1, "item": 2, "click": {"at": 1}}', 3, "log.ndjson:602: column 'click': '{\"at\": 1}' is an object"),
        ('{"user": 1, "item": 2, "cli', 3, "log.ndjson:602: not valid JSON"),
    ],
)
def test_a_bad_line_of_the_log_is_named_by_its_number(
    line: str, code: int, message: str, fresh: Path, widedeep: CommandLine
) -> None:
    (fresh / "log.ndjson").write_text("\n" + pl.read_csv("log.csv").write_ndjson() + line)
    found, _, err = widedeep("ingest", "joined.yaml", "--set", "data.train=log.ndjson")
    assert found == code, err
    assert message in err


def test_a_misspelt_label_of_a_log_in_ndjson_is_a_missing_column(fresh: Path, widedeep: CommandLine) -> None:
    pl.read_csv("log.csv").write_ndjson("log.ndjson")
    line = ["ingest", "joined.yaml", "--set", "data.train=log.ndjson", "--set", "data.label=clicked"]
    code, _, err = widedeep(*line)
    assert code == 2
    assert "log.ndjson: no column 'clicked'; did you mean 'click'? It has: user, item, click" in err


# ------------------------------------------------------------------------------------------------------------- --table


@pytest.mark.parametrize("command", [["predict", "-o", "-"], ["eval", "--json"]])
def test_a_side_table_that_moved_is_asked_for_and_taken_from_where_it_is_said_to_be(
    command: list[str], fresh: Path, widedeep: CommandLine
) -> None:
    assert widedeep("train", "joined.yaml")[0] == 0
    line = [command[0], "joined.yaml", "new.csv", *command[1:]]
    code, before, _ = widedeep(*line)
    assert code == 0
    pl.read_csv("users.csv").write_parquet("moved.parquet")
    Path("users.csv").unlink()
    code, out, err = widedeep(*line)
    assert (code, out) == (3, "")
    assert "data.tables.users: users.csv: no such file" in err
    assert "pass --table users=FILE" in err
    code, after, err = widedeep(*line, "--table", "users=moved.parquet", "--table", "items=items.ndjson")
    assert code == 0, err
    assert after == before
    # The rows of a split are joined already.
    assert widedeep("eval", "joined.yaml")[0] == 0


@pytest.mark.parametrize("command", ["predict", "eval"])
@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--table", "users"], "--table users: must be NAME=FILE"),
        (["--table", "=x.csv"], "--table =x.csv: must be NAME=FILE"),
        (["--table", "users="], "--table users=: must be NAME=FILE"),
        (["--table", "users=a", "--table", "users=b"], "--table users=…: given twice"),
        (["--table", "user=users.csv"], "no side table of that name; its side tables are users, items, unused"),
    ],
)
def test_a_table_option_that_means_nothing_is_a_usage_error(
    command: str, option: list[str], message: str, joined: Path, widedeep: CommandLine
) -> None:
    output = ["-o", "s.csv"] if command == "predict" else []
    code, out, err = widedeep(command, "joined.yaml", "new.csv", *output, *option)
    assert (code, out) == (2, "")
    assert message in err
    assert not Path("s.csv").exists()


def test_a_table_option_without_new_files_is_a_usage_error(joined: Path, widedeep: CommandLine) -> None:
    code, _, err = widedeep("eval", "joined.yaml", "--table", "users=users.csv")
    assert code == 2
    assert "--table says where a side table of new files lies" in err


# ------------------------------------------------------------------------------------------------------- ingest, refused


def test_a_side_table_that_changes_is_ingested_again_and_one_that_is_not_needed_counts_for_nothing(
    fresh: Path, widedeep: CommandLine
) -> None:
    def cached() -> bool:
        code, out, err = widedeep("ingest", "joined.yaml", "--json")
        assert code == 0, err
        return bool(json.loads(out)["cached"])

    assert [cached(), cached()] == [False, True]
    (fresh / "none.csv").write_text("id\n1\n")
    assert cached()
    (fresh / "users.csv").write_text((fresh / "users.csv").read_text() + "999,1,nowhere\n")
    assert [cached(), cached()] == [False, True]


def _twice(folder: Path) -> None:
    (folder / "users.csv").write_text("id,age,city\n1,1,x\n2,1,x\n1,1,x\n")


def _keyless(folder: Path) -> None:
    (folder / "users.csv").write_text("id,age,city\n1,1,x\n,1,x\n")


def _without_age(folder: Path) -> None:
    (folder / "users.csv").write_text("id,aged,city\n1,1,x\n")


def _gone(folder: Path) -> None:
    (folder / "users.csv").unlink()


def _in_the_log(folder: Path) -> None:
    (folder / "log.csv").write_text("user,item,click,users.age\n1,1,1,1\n")


def _no_join_column(folder: Path) -> None:
    (folder / "log.csv").write_text("item,click\n1,1\n")


def _nested(folder: Path) -> None:
    (folder / "items.ndjson").write_text('{"item": 1, "color": {"name": "red"}}\n')


def _broken(folder: Path) -> None:
    (folder / "items.ndjson").write_text('{"item": 1, "color": "red"}\n{"item": 2, "co\n')


@pytest.mark.parametrize(
    ("spoil", "code", "message"),
    [
        (_twice, 3, "users.csv:4: column 'id': the key '1' of side table 'users' stands already at"),
        (_keyless, 3, "users.csv:3: column 'id': the key of side table 'users' is missing"),
        (_without_age, 2, "users.csv: no column 'age'; did you mean 'aged'? It has: id, aged, city"),
        (_gone, 3, "data.tables.users: users.csv: no such file"),
        (_in_the_log, 2, "log.csv: the log has a column 'users.age' of its own"),
        (_no_join_column, 2, "log.csv: no column 'user'"),
        (_nested, 3, "items.ndjson:1: column 'color': '{\"name\": \"red\"}' is an object; flatten it"),
        (_broken, 3, "items.ndjson:2: not valid JSON"),
    ],
)
def test_a_side_table_that_does_not_fit_is_refused_in_one_line(
    spoil: Callable[[Path], None], code: int, message: str, fresh: Path, widedeep: CommandLine
) -> None:
    spoil(fresh)
    found, out, err = widedeep("ingest", "joined.yaml", "--json")
    assert (found, out) == (code, ""), err
    assert message in err
    assert "Traceback" not in err
    assert "--table" not in err


def test_a_side_table_of_another_kind_of_values_is_refused_at_scoring(joined: Path, widedeep: CommandLine) -> None:
    pl.read_ndjson("items.ndjson").with_columns(color=pl.lit("2024-01-01").str.to_date()).write_parquet("days.parquet")
    pl.read_csv("users.csv").with_columns(age=True).write_parquet("flags.parquet")
    code, _, err = widedeep("predict", "joined.yaml", "new.csv", "-o", "s.csv", "--table", "items=days.parquet")
    assert code == 7, err  # text stands for any kind; but no such color was known
    assert "items.color 100.0% unseen" in err
    pl.read_csv("users.csv").write_parquet("users.parquet")
    Path("typed.yaml").write_text(RECIPE.replace("users.csv", "users.parquet").replace("name: joined", "name: typed"))
    assert widedeep("train", "typed.yaml")[0] == 0
    code, _, err = widedeep("predict", "typed.yaml", "new.csv", "-o", "t.csv", "--table", "users=flags.parquet")
    assert code == 3
    assert "column 'users.age' holds boolean values where training saw number" in err


# --------------------------------------------------------------------------------------------------------- kept columns


def test_a_kept_column_that_the_output_cannot_hold_is_a_usage_error(joined: Path, widedeep: CommandLine) -> None:
    new = pl.read_csv("new.csv")
    new.with_columns(tags=pl.Series([["a", "b"]] * len(new))).write_ndjson("new.ndjson")
    code, _, err = widedeep("predict", "joined.yaml", "new.ndjson", "-o", "s.csv", "--keep", "tags")
    assert code == 2
    assert "--keep tags: holds List(String) values, which CSV cannot" in err
    for output in ("s.ndjson", "s.parquet"):
        code, _, err = widedeep("predict", "joined.yaml", "new.ndjson", "-o", output, "--keep", "tags")
        assert code == 0, err
    line = ["predict", "joined.yaml", "new.csv", "new.ndjson", "--keep", "user"]
    code, _, err = widedeep(*line, "-o", "two.parquet")
    assert code == 2
    assert "--keep user: holds String values first and Int64 later, which one Parquet file cannot" in err
    assert not Path("two.parquet").exists()
    assert widedeep(*line, "-o", "two.csv")[0] == 0
