"""`widedeep init`: a recipe for tables that nobody has described, with the traps that real logs hold."""

import contextlib
import json
import random
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from widedeep.errors import ColumnError, DataError, WidedeepError
from widedeep.profile.id_like import is_id_like, most_distinct_in_part
from widedeep.profile.ingest import ingest
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import Recipe
from widedeep.reporting import Reporter
from widedeep.suggest.init import init_recipe

pytestmark = pytest.mark.usefixtures("held_against_the_schema")

ROWS = 3000


def base_columns(rows: int = ROWS, seed: int = 0, rate: float = 0.3) -> dict[str, list[object]]:
    """A category that says something of the click, a number, and the click."""
    draw = random.Random(seed)
    city = [draw.choice(["oslo", "rome", "lima"]) for _ in range(rows)]
    click = [int(draw.random() < rate * (1.5 if one == "rome" else 0.75)) for one in city]
    return {"city": city, "price": [round(draw.lognormvariate(1, 1), 2) for _ in range(rows)], "click": click}


def suggested(folder: Path, columns: dict[str, list[object]], **options: str) -> tuple[Recipe, str]:
    """The recipe for a CSV of the columns, and its text."""
    pl.DataFrame(columns, strict=False).write_csv(folder / "log.csv")
    text = init_recipe([str(folder / "log.csv")], options.pop("label", "click"), recipe_folder=folder, **options).text
    return parse_recipe(text, "init", folder, "log").recipe, text


def used(recipe: Recipe) -> dict[str, str]:
    """Column → the kind of field that it became."""
    parts = ("numeric", "categorical", "multi_valued", "date_time")
    return {field.column: part for part in parts for field in getattr(recipe.features, part)}


def test_numbers_and_categories_are_told_apart_and_the_rest_is_accounted_for(tmp_path: Path) -> None:
    recipe, text = suggested(tmp_path, {**base_columns(), "always": ["x"] * ROWS})
    assert used(recipe) == {"city": "categorical", "price": "numeric"}
    assert "always" in text.split("# Left out")[1]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("row_id", lambda click, draw: [f"r{number:08d}" for number in range(len(click))]),
        ("clicked", lambda click, draw: ["yes" if one else "no" for one in click]),
        ("revenue", lambda click, draw: [round(draw.uniform(1, 9), 2) if one else None for one in click]),
        ("dwell", lambda click, draw: [draw.uniform(20, 90) if one else draw.uniform(0, 5) for one in click]),
        ("noisy", lambda click, draw: [one if draw.random() > 0.02 else 1 - one for one in click]),
    ],
)
def test_ids_and_columns_that_give_the_label_away_are_left_out(tmp_path: Path, name: str, values) -> None:
    columns = base_columns()
    columns[name] = values(columns["click"], random.Random(5))
    recipe, text = suggested(tmp_path, columns)
    assert used(recipe) == {"city": "categorical", "price": "numeric"}
    assert f"#   {name}:" in text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0.5, 1.0), st.integers(2, 6), st.integers(0, 5))
def test_init_keeps_no_column_that_ingest_then_calls_an_id_and_leaves_out_none_that_comes_again(
    tmp_path: Path, distinct: float, copies: int, seed: int
) -> None:
    draw, rows = random.Random(seed), 1500
    columns = base_columns(rows)
    # Some values stand in several rows, all others in one.
    shared = round(rows * (1.0 - distinct) * copies / (copies - 1))
    values = [f"u{row // copies if row < shared else row}" for row in range(rows)]
    draw.shuffle(values)
    columns["user"] = values
    recipe, text = suggested(tmp_path, columns)
    kept = "user" in used(recipe)
    assert kept or "user: names single rows" in text
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        report = ingest(recipe, tmp_path, Path(folder), Reporter())
    assert "id_like" not in [finding.kind for finding in report.warnings]
    share = len(set(values)) / rows
    assert kept or share > 0.85
    assert not kept or share < 0.96


@pytest.mark.parametrize("share", [0.6, 0.8, 1.0])
def test_the_most_values_of_a_part_are_hardly_ever_passed(share: float) -> None:
    draw, values = random.Random(7), [*range(1800), *range(200)]
    most = most_distinct_in_part(1800, 2000, share)
    drawn = [len(set(draw.sample(values, round(share * 2000)))) for _ in range(300)]
    assert max(drawn) <= most
    assert most - sum(drawn) / len(drawn) < 0.02 * 2000


@pytest.mark.parametrize(("distinct", "rows", "expected"), [(95, 100, True), (94, 100, False), (29, 29, False)])
def test_a_column_is_an_id_where_nearly_every_row_has_a_value_of_its_own(
    distinct: int, rows: int, expected: bool
) -> None:
    assert is_id_like(distinct, rows) == expected


def test_users_of_several_rows_stay_however_many_are_new_later(tmp_path: Path) -> None:
    draw, columns = random.Random(4), base_columns()
    columns["at"] = [f"{START + timedelta(minutes=11 * row):%Y-%m-%d %H:%M}" for row in range(ROWS)]
    columns["user"] = [f"u{row // 40 + draw.randrange(4)}" for row in range(ROWS)]
    recipe, _ = suggested(tmp_path, columns)
    assert (recipe.data.split.kind, used(recipe)["user"]) == ("time", "categorical")  # type: ignore[union-attr]
    report = ingest(recipe, tmp_path, tmp_path / "typed", Reporter())
    assert [(finding.kind, finding.is_warning) for finding in report.warnings] == [("new_values", False)]


def test_a_strong_but_honest_predictor_stays(tmp_path: Path) -> None:
    columns = base_columns()
    draw = random.Random(1)
    columns["score"] = [round(draw.gauss(1.5 if one else 0.0, 1.0), 3) for one in columns["click"]]
    assert used(suggested(tmp_path, columns)[0])["score"] == "numeric"


def test_a_delimited_list_becomes_a_multi_valued_field_with_its_weights(tmp_path: Path) -> None:
    draw, columns = random.Random(2), base_columns()
    topics = ["sport", "news", "music", "film", "food"]
    lists = [draw.sample(topics, draw.randrange(1, 4)) for _ in range(ROWS)]
    columns["tags"] = ["|".join(one) for one in lists]
    columns["interests"] = [";".join(f"{topic}:{draw.random():.2f}" for topic in one) for one in lists]
    recipe, _ = suggested(tmp_path, columns)
    fields = {field.column: field for field in recipe.features.multi_valued}
    assert fields["tags"].separator == "|"
    assert (fields["interests"].separator, fields["interests"].weight_separator) == (";", ":")


START = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        lambda at: f"{at:%Y-%m-%d} {at.hour}:{at:%M}",
        lambda at: f"{at.day}/{at.month}/{at.year} {at.hour}:{at:%M}",
        lambda at: f"{at:%Y-%m-%dT%H:%M:%SZ}",
        lambda at: int(at.timestamp()),
        lambda at: int(at.timestamp() * 1000),
    ],
    ids=["one-digit hours", "day first", "iso", "epoch seconds", "epoch milliseconds"],
)
def test_a_time_is_split_into_parts_and_the_rows_are_split_by_it(tmp_path: Path, written) -> None:
    moments = [START + timedelta(minutes=11 * row) for row in range(ROWS)]
    recipe, _ = suggested(tmp_path, {"at": [written(at) for at in moments], **base_columns()})
    assert used(recipe)["at"] == "date_time"
    assert recipe.data.split is not None
    assert (recipe.data.time.column, recipe.data.split.kind) == ("at", "time")  # type: ignore[union-attr]
    report = ingest(recipe, tmp_path, tmp_path / "typed", Reporter())
    assert report.rows["train"] > report.rows["test"] > 0


def test_sessions_are_kept_on_one_side_and_ranked_by(tmp_path: Path) -> None:
    columns = base_columns()
    columns["session"] = [f"s{row // 5}" for row in range(ROWS)]
    recipe, _ = suggested(tmp_path, columns, group="session")
    assert recipe.data.group == "session"
    assert recipe.data.split is not None
    assert recipe.data.split.kind == "key"
    assert "session" not in used(recipe)


def test_very_rare_positives_leave_some_for_every_split(tmp_path: Path) -> None:
    recipe, _ = suggested(tmp_path, base_columns(60_000, rate=0.002))
    report = ingest(recipe, tmp_path, tmp_path / "typed", Reporter())
    assert min(label.positives or 0 for label in report.label.values()) >= 5
    assert recipe.training.batch_size >= 1024


def test_a_label_of_words_gets_its_positive_value_and_missing_marks_are_understood(tmp_path: Path) -> None:
    columns = base_columns()
    columns["click"] = ["yes" if one else "no" for one in columns["click"]]
    columns["price"] = ["NA" if row % 9 == 0 else one for row, one in enumerate(columns["price"])]
    recipe, _ = suggested(tmp_path, columns)
    assert recipe.data.label.positive == ("yes",)
    assert used(recipe)["price"] == "numeric"
    assert "NA" in recipe.data.format.missing


def test_init_then_train_needs_no_hand_in_between(widedeep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(base_columns()).write_csv("log.csv")
    assert widedeep("init", "log.csv", "--label", "click", "-o", "mine.yaml")[:2] == (0, "")
    assert widedeep("init", "log.csv", "--label", "click", "-o", "mine.yaml")[0] == 2
    code, out, _ = widedeep("train", "mine.yaml", "--set", "training.epochs=1", "--json")
    assert code == 0
    assert '"auc"' in out


def test_valid_and_test_files_of_their_own_are_named_and_no_rows_are_taken_for_them(
    widedeep, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("recipes").mkdir()
    for seed, name in enumerate(("monday", "tuesday", "wednesday")):
        pl.DataFrame(base_columns(600, seed)).write_csv(f"{name}.csv")
    options = ["--label", "click", "--valid", "tuesday.csv", "--test", "wednesday.csv"]
    code, out, err = widedeep("init", "monday.csv", *options, "-o", "recipes/mine.yaml")
    assert (code, out) == (0, "")
    assert "split" not in Path("recipes/mine.yaml").read_text()
    code, out, err = widedeep("train", "recipes/mine.yaml", "--set", "training.epochs=1", "--json")
    assert code == 0, err
    facts = json.loads((Path(json.loads(out)["run"]) / "metrics.json").read_text())
    assert facts["rows"] == {"train": 600, "valid": 600, "test": 600}


def test_only_the_part_without_files_is_split_off(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        pl.DataFrame(base_columns(600)).write_csv(tmp_path / f"{name}.csv")
    paths = [str(tmp_path / f"{name}.csv") for name in ("a", "b", "c")]
    text = init_recipe(paths[:1], "click", test=paths[1:], recipe_folder=tmp_path).text
    data = parse_recipe(text, "init", tmp_path, "log").recipe.data
    assert (data.train, data.valid, data.test) == (("a.csv",), None, ("b.csv", "c.csv"))
    report = ingest(parse_recipe(text, "init", tmp_path, "log").recipe, tmp_path, tmp_path / "typed", Reporter())
    assert report.rows["test"] == 1200
    assert report.rows["train"] + report.rows["valid"] == 600
    assert report.rows["valid"] > 0


def test_a_column_that_the_test_files_lack_is_told_and_left_out(widedeep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    columns = base_columns()
    late = [round(random.Random(row).gauss(0, 1), 3) for row in range(ROWS)]
    pl.DataFrame({**columns, "late": late, "at": list(range(ROWS))}).write_csv("log.csv")
    pl.DataFrame({**base_columns(300, 1), "more": ["x"] * 300}).write_csv("later.csv")
    code, out, err = widedeep("init", "log.csv", "--label", "click", "--test", "later.csv")
    assert code == 0
    assert "widedeep: later.csv lacks late, at, which the train files have: left out\n" in err
    assert used(parse_recipe(out, "init", tmp_path, "log").recipe) == {"city": "categorical", "price": "numeric"}
    assert "#   late: later.csv has no such column" in out
    code, out, err = widedeep("init", "log.csv", "--label", "click", "--test", "later.csv", "--time", "at")
    assert (code, out) == (2, "")
    assert "--time at: later.csv has no such column; every split needs it" in err


def test_labels_of_test_files_are_not_looked_at(tmp_path: Path) -> None:
    texts = []
    for rate in (0.1, 0.9):
        pl.DataFrame(base_columns()).write_csv(tmp_path / "log.csv")
        pl.DataFrame(base_columns(400, 1, rate)).write_csv(tmp_path / "later.csv")
        later = [str(tmp_path / "later.csv")]
        texts.append(init_recipe([str(tmp_path / "log.csv")], "click", test=later, recipe_folder=tmp_path).text)
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["log.csv", "--test", "log.csv"], 2, "log.csv: named as train and as test: a row may be in one split only"),
        (["train.csv", "test.csv", "--test", "log.csv"], 2, "test.csv: is test by its name, and --test names log.csv"),
        (["log.csv", "--valid", "none.csv"], 3, "none.csv"),
        (["log.csv", "--valid", "bare.csv"], 2, "click"),
        (["log.csv", "--valid", "tabs.csv"], 3, "tabs.csv: read with separator ';', the train files with ','"),
    ],
)
def test_files_that_cannot_be_a_split_of_the_table_are_refused(
    widedeep, tmp_path: Path, monkeypatch, arguments: list[str], code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("log", "train", "test"):
        pl.DataFrame(base_columns(300)).write_csv(f"{name}.csv")
    pl.DataFrame(base_columns(300)).drop("click").write_csv("bare.csv")
    pl.DataFrame(base_columns(300)).write_csv("tabs.csv", separator=";")
    found, out, err = widedeep("init", *arguments, "--label", "click")
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1


def test_without_o_stdout_is_the_recipe_and_nothing_else(widedeep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(base_columns()).write_parquet("log.parquet")
    code, out, _ = widedeep("init", "log.parquet", "--label", "click")
    assert code == 0
    assert parse_recipe(out, "stdout", tmp_path, "log").recipe.data.train == ("log.parquet",)


@pytest.mark.parametrize(
    ("content", "label", "code", "message"),
    [
        ("a,click\n1,0\n", "clik", 2, "did you mean 'click'?"),
        ("", "click", 3, "empty"),
        ("a,click\n" + "1,0\n" * 50, "click", 3, "click"),
        ("39,Private,0\n40,State,1\n" * 30, "click", 2, "the first line looks like data"),
    ],
)
def test_a_table_that_cannot_be_trained_on_is_refused(
    widedeep, tmp_path: Path, monkeypatch, content: str, label: str, code: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log.csv").write_text(content)
    found, out, err = widedeep("init", "log.csv", "--label", label)
    assert (found, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize("name", ["*", "^c.*$"])
def test_a_column_whose_name_reads_as_a_pattern_is_left_out(tmp_path: Path, name: str) -> None:
    columns = {**base_columns(), name: list(range(ROWS))}
    recipe, text = suggested(tmp_path, columns)
    assert used(recipe) == {"city": "categorical", "price": "numeric"}
    assert "reads as a pattern of names" in text.split("# Left out")[1]
    pl.DataFrame(columns).write_parquet(tmp_path / "log.parquet")
    assert (
        "reads as a pattern of names"
        in init_recipe([str(tmp_path / "log.parquet")], "click", recipe_folder=tmp_path).text
    )
    with pytest.raises(ColumnError, match="reads as a pattern of names; rename"):
        init_recipe([str(tmp_path / "log.csv")], name, recipe_folder=tmp_path)


NAMES = st.sampled_from(["*", "^b$"]) | st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=8
)
CELLS = st.sampled_from(["", "1", "2.5", "a|b", "2024-01-02 9:05", "yes", "no", "#", "1e3", "é", "[x]", "a: b", "-"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(NAMES, min_size=1, max_size=4, unique=True), st.data())
def test_any_small_table_is_refused_clearly_or_gets_a_recipe_that_reads_it(tmp_path: Path, names, data) -> None:
    rows = 30
    table = {name: data.draw(st.lists(CELLS, min_size=rows, max_size=rows)) for name in names if name.strip() == name}
    table["the label"] = [str(row % 2) for row in range(rows)]
    pl.DataFrame(table).write_csv(tmp_path / "log.csv")
    try:
        text = init_recipe([str(tmp_path / "log.csv")], "the label", recipe_folder=tmp_path).text
    except WidedeepError:
        return
    recipe = parse_recipe(text, "init", tmp_path, "log").recipe
    # Thirty rows may be split so that a part has no value or one class only.
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder, contextlib.suppress(DataError):
        ingest(recipe, tmp_path, Path(folder), Reporter())
