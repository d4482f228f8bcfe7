"""The whole flow with every field kind at once on a million rows: eval's metrics are those of predict's scores; times stated.

python -m pytest tests/benchmarks/test_every_field_kind.py --override-ini addopts=-qs
"""

import json
import time
from pathlib import Path

import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from widedeep.api.runs import Run
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.scoring.predict import predict_files
from widedeep.synth.sample_log import write_sample_log
from widedeep.table.parts import read_typed

ROWS = 1_000_000
RECIPE = """\
name: kinds
data:
  train: log.parquet
  tables:
    users: {files: users.csv, key: user}
  label: click
  time: time
  group: session
  keep_negatives: 0.5
  split: {kind: time, valid: 0.1, test: 0.1}
features:
  numeric:
    - {column: age, transform: minmax, clip: [18, 70]}
    - {column: price, transform: log1p, buckets: 10}
    - {column: past_clicks, transform: cdf}
    - {column: quality, transform: standard}
  categorical:
    - {column: user, buckets: 20000}
    - device
    - slot
    - category
    - {column: country, vocabulary: place}
    - {column: users.home, vocabulary: place}
    - {column: publisher, min_count: 10}
  multi_valued:
    - {column: tags, separator: "|", weight_separator: ":", pooling: sum}
    - {column: interests, pooling: max, max_length: 3}
  date_time:
    - {column: time, parts: [hour, weekday, day, part_of_day], since: {column: users.joined, format: "%Y-%m-%d %H:%M"}, buckets: 8}
crosses:
  - [category, country]
  - [device, time.hour]
  - [category, tags]
  - [interests, tags]
  - {fields: [time.age, price], buckets: 1000}
model: {deep: {hidden: [128, 64]}}
training: {epochs: 1}
evaluation: {cutoffs: [5, 10]}
"""


def write_project(folder: Path) -> None:
    """The sample log with a session, weighted tags and a list column, and a side table of users with odd hours."""
    write_sample_log(folder, ROWS, 1, Reporter())
    log = pl.read_csv(folder / "log.csv")
    tags = pl.col("tags").str.split("|")
    number = pl.col("user").str.tail(5).str.to_integer()
    log.with_columns(
        session=pl.concat_str(pl.lit("s"), pl.int_range(pl.len()) // 8),
        tags=tags.list.eval(pl.element() + pl.lit(":1")).list.join("|"),
        interests=pl.concat_list("category", "slot"),
    ).write_parquet(folder / "log.parquet")
    users = log.select("user").unique(maintain_order=True).with_columns(number=number)
    users.select(
        "user",
        home=pl.lit(pl.Series(log["country"].unique(maintain_order=True))).gather(pl.col("number") % 60),
        joined=pl.concat_str(
            pl.lit("2024-"), pl.col("number") % 12 + 1, pl.lit("-5 "), pl.col("number") % 24, pl.lit(":05")
        ),
    ).write_csv(folder / "users.csv")


def test_metrics_of_predicts_scores_equal_evals_with_every_field_kind(tmp_path: Path) -> None:
    write_project(tmp_path)
    (tmp_path / "kinds.yaml").write_text(RECIPE)
    started = time.monotonic()
    run = train(load_recipe(tmp_path / "kinds.yaml"), tmp_path, Reporter()).run
    trained = time.monotonic()
    manifest = json.loads((run / "manifest.json").read_text())
    typed = read_typed(tmp_path / "stages" / "ingest" / manifest["keys"]["ingest"], "train")
    plan = FeaturePlan.load(run / "plan")
    begun = time.monotonic()
    for block in typed.iter_slices(1 << 18):
        plan.encode(block)
    encode_seconds = time.monotonic() - begun
    recent = tmp_path / "recent.parquet"
    pl.read_parquet(tmp_path / "log.parquet").tail(ROWS // 10).write_parquet(recent)
    scores = tmp_path / "scores.parquet"
    predict_files(run, [recent], scores, keep=["click"], reporter=Reporter())
    metrics = Run(run, work_dir=tmp_path).evaluate(recent).metrics
    test = Run(run, work_dir=tmp_path).evaluate(split="test").metrics
    scored = pl.read_parquet(scores)
    assert metrics["auc"] == pytest.approx(roc_auc_score(scored["click"], scored["score"]), abs=1e-6)
    assert metrics["log_loss"] == pytest.approx(log_loss(scored["click"], scored["score"].cast(pl.Float64)), abs=1e-6)
    assert test == pytest.approx(json.loads((run / "metrics.json").read_text())["metrics"]["test"], abs=1e-6)
    print(
        f"\n{ROWS:,} rows: from files to metrics {trained - started:.1f} s; encoding {len(typed):,} train rows "
        f"{encode_seconds:.1f} s ({len(typed) / encode_seconds:,.0f} rows/s); test AUC {test['auc']:.4f}, GAUC {test['gauc']:.4f}"
    )
