"""Every field kind at once, from the command line: lists, times, shared vocabularies, groups, sampled negatives."""

import json
import math
import random
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

RECIPE = """\
name: kinds
data:
  train: log.parquet
  label: click
  group: session
  time: {column: at, format: epoch_ms}
  keep_negatives: 0.5
  split: {kind: time, valid: 0.15, test: 0.15}
features:
  numeric:
    - {column: price, transform: minmax, clip: [0, 50], buckets: 4}
  categorical:
    - {column: item, vocabulary: item}
    - city
  multi_valued:
    - {column: history, separator: "|", weight_separator: ":", vocabulary: item, pooling: sum, max_length: 4}
    - {column: topics, pooling: max}
  date_time:
    - {column: at, format: epoch_ms, parts: [hour, weekday, day, part_of_day], since: joined, buckets: 4}
crosses:
  - [history, city]
  - {fields: [topics, at.part_of_day], min_count: 1}
  - {fields: [at.age, item], buckets: 50}
model:
  deep: {hidden: [16]}
training: {epochs: 2, batch_size: 256, threads: 1, early_stopping: {metric: ndcg@5}}
evaluation: {cutoffs: [5]}
"""


def write_log(path: Path, rows: int = 3000, seed: int = 0) -> None:
    """A log with sessions of five impressions, whose label depends on a value in a list together with the city."""
    draw = random.Random(seed)
    columns: dict[str, list[object]] = {
        name: [] for name in ("session", "at", "joined", "price", "item", "city", "history", "topics", "click")
    }
    for row in range(rows):
        items = [f"i{draw.randrange(12)}" for _ in range(draw.randrange(6))]
        city = draw.choice(["oslo", "rome", None])
        at = 1_700_000_000_000 + row * 600_000
        logit = -1.5 + (3.0 if "i3" in items and city == "rome" else 0.0)
        values = {
            "session": f"s{row // 5}",
            "at": at,
            "joined": "2023-01-01 9:05" if draw.random() < 0.5 else None,
            "price": None if draw.random() < 0.1 else draw.uniform(-5, 80),
            "item": f"i{draw.randrange(12)}",
            "city": city,
            "history": "|".join(f"{item}:{draw.choice([1, 0.5])}" for item in items) or None,
            "topics": [f"t{draw.randrange(4)}" for _ in range(draw.randrange(3))],
            "click": int(draw.random() < 1 / (1 + math.exp(-logit))),
        }
        for name, value in values.items():
            columns[name].append(value)
    pl.DataFrame(columns, schema_overrides={"topics": pl.List(pl.String)}).write_parquet(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder = tmp_path_factory.mktemp("kinds")
    write_log(folder / "log.parquet")
    (folder / "kinds.yaml").write_text(RECIPE)
    return train(load_recipe(folder / "kinds.yaml"), folder, Reporter()).run


def test_metrics_computed_from_predicts_scores_equal_those_of_eval(run: Path, widedeep, tmp_path: Path) -> None:
    write_log(tmp_path / "new.parquet", 1500, seed=1)
    code, out, _ = widedeep("eval", run, tmp_path / "new.parquet", "--json")
    assert code == 0
    metrics = json.loads(out)["metrics"]
    assert widedeep("predict", run, tmp_path / "new.parquet", "-o", tmp_path / "s.csv", "--keep", "click")[0] == 0
    scores = pl.read_csv(tmp_path / "s.csv")
    assert metrics["auc"] == pytest.approx(roc_auc_score(scores["click"], scores["score"]), abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(log_loss(scores["click"], scores["score"]), abs=1e-6)
    assert metrics["groups"] == 300


def test_the_planted_list_by_value_cross_is_learnt(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]["test"]
    assert metrics["auc"] > 0.6
    assert {"gauc", "map@5", "ndcg@5", "mrr", "hit_rate@5", "groups", "groups_one_class"} <= metrics.keys()


def test_scores_stay_calibrated_although_half_of_the_negatives_were_left_out(run: Path) -> None:
    facts = json.loads((run / "metrics.json").read_text())
    assert facts["metrics"]["test"]["calibration"] == pytest.approx(1.0, abs=0.25)
    assert facts["rows"]["train"] < 1600  # of 2,100, over three quarters of them negative
    assert facts["rows"]["test"] == 450


def test_eval_on_the_test_split_repeats_what_train_reported(run: Path, widedeep) -> None:
    code, out, _ = widedeep("eval", run, "--split", "test", "--json", "--work", run.parents[2])
    assert code == 0
    trained = json.loads((run / "metrics.json").read_text())["metrics"]["test"]
    assert json.loads(out)["metrics"] == pytest.approx(trained, abs=1e-6)


def test_a_log_with_a_text_for_every_kind_is_scored_like_the_typed_one(run: Path, widedeep, tmp_path: Path) -> None:
    write_log(tmp_path / "new.parquet", 200, seed=2)
    frame = pl.read_parquet(tmp_path / "new.parquet").drop("topics")
    empty = pl.Series([[]] * len(frame), dtype=pl.List(pl.String))
    frame.with_columns(topics=empty).write_parquet(tmp_path / "typed.parquet")
    frame.with_columns(topics=pl.lit(None, pl.List(pl.String))).write_parquet(tmp_path / "null.parquet")
    for name in ("typed", "null"):
        words = ["predict", run, tmp_path / f"{name}.parquet", "-o", tmp_path / f"{name}.csv"]
        assert widedeep(*words, "--limit", "topics.missing=none")[0] == 0
    assert (tmp_path / "typed.csv").read_text() == (tmp_path / "null.csv").read_text()


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        ({"history": "i1:much"}, 3, "row 1: column 'history': 'i1:much': the weight 'much' is not a finite number"),
        ({"joined": "01.01.2023"}, 3, "row 1: column 'joined': '01.01.2023' is not a time"),
        ({"session": None}, 3, "row 1: column 'session': the group is missing"),
    ],
)
def test_a_bad_value_is_refused_with_row_and_value(run: Path, widedeep, tmp_path: Path, change, code, message) -> None:
    write_log(tmp_path / "bad.parquet", 10)
    frame = pl.read_parquet(tmp_path / "bad.parquet")
    changed = frame.with_columns(pl.lit(value).cast(frame.schema[name]).alias(name) for name, value in change.items())
    changed.write_parquet(tmp_path / "bad.parquet")
    found, out, err = widedeep("eval", run, tmp_path / "bad.parquet")
    assert (found, out) == (code, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_log_without_the_group_column_is_refused_by_eval_and_scored_by_predict(run, widedeep, tmp_path: Path) -> None:
    write_log(tmp_path / "log.parquet", 10)
    pl.read_parquet(tmp_path / "log.parquet").drop("session", "click").write_parquet(tmp_path / "bare.parquet")
    code, _, err = widedeep("eval", run, tmp_path / "bare.parquet")
    assert code == 2
    assert "no column" in err
    assert widedeep("predict", run, tmp_path / "bare.parquet", "-o", tmp_path / "s.csv")[0] == 0


def test_a_list_that_is_text_without_a_separator_is_refused_at_ingest(widedeep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("tags,click\n" + "a|b,1\nc,0\n" * 10)
    (tmp_path / "r.yaml").write_text("data: {train: log.csv, label: click}\nfeatures: {multi_valued: [tags]}\n")
    code, _, err = widedeep("ingest", "r.yaml")
    assert code == 3
    assert "holds String values, not lists: set `separator`" in err


def test_empty_items_and_lists_that_are_too_long_are_told_at_ingest(widedeep, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("tags,click\na||b|c,1\nc,0\n" + "a,1\nb,0\n" * 30)
    (tmp_path / "r.yaml").write_text(
        "data: {train: log.csv, label: click}\nfeatures: {multi_valued: [{column: tags, separator: '|', max_length: 2}]}\n"
    )
    code, _, err = widedeep("ingest", "r.yaml")
    assert code == 0
    assert "column 'tags': 1 empty items in lists are left out" in err
    assert "column 'tags': 1 rows have more values than `max_length`" in err
