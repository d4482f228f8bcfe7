"""What cases start from: a small log in every format, a side table, recipes of every kind of field, a finished run."""

import csv
import gzip
import random
from pathlib import Path

import work_cases
from cases import Case

ROWS = 60
COLUMNS = ("color", "shape", "user", "price", "age", "tags", "at", "day", "weight", "click")
LOG_FILES = ("log.csv", "log.ndjson", "log.parquet", "log.arrow", "log.csv.gz", "log.ndjson.zst")

SMALL = """\
name: small
data:
  train: log.csv
  label: click
  split: {kind: random, valid: 0.2, test: 0.2}
features:
  numeric: [price, {column: age, transform: standard, buckets: 4}]
  categorical: [color, {column: user, buckets: 50}]
crosses:
  - [color, user]
model:
  deep: {hidden: [8]}
training: {epochs: 1, batch_size: 16, threads: 1}
"""

RICH = """\
name: rich
seed: 3
data:
  train: log.csv
  tables:
    people: {files: people.csv, key: user, on: user}
  label: {column: click, kind: binary, positive: [1]}
  weight: weight
  time: {column: at, format: epoch}
  group: shape
  split: {kind: time, valid: 0.2, test: 0.2}
features:
  numeric:
    - {column: price, transform: log1p, clip: [0, 100], buckets: 5}
    - {column: people.income, transform: minmax, missing_flag: false}
  categorical:
    - {column: color, min_count: 1}
    - {column: user, vocabulary: users, embedding_dim: 4}
    - people.city
  multi_valued:
    - {column: tags, separator: "|", weight_separator: ":", max_length: 3, pooling: sum, min_count: 1}
  date_time:
    - {column: day, name: day, format: "%Y-%m-%d", parts: [weekday, day], since: {column: at, format: epoch}, buckets: 3}
crosses:
  - [color, people.city]
  - {fields: [price, shape_again], buckets: 20}
model:
  kind: wide_deep
  wide: {folds: 3}
  embeddings: {dim: 4}
  deep: {hidden: [8, 4], dropout: 0.1, activation: gelu}
training:
  epochs: 2
  batch_size: 16
  threads: 1
  wide: {optimizer: ftrl, learning_rate: 0.1, l1: 0.01, l2: 0.1, beta: 1.0}
  deep: {optimizer: adamw, learning_rate: 0.01, l2: 0.01, embedding_l2: 0.001}
  warmup_steps: 2
  plateau: {factor: 0.5, patience: 1}
  early_stopping: {metric: gauc, patience: 2}
  unknown_share: 0.1
evaluation: {golden_rows: 8, cutoffs: [3, 10]}
""".replace("  multi_valued:", "    - {column: shape, name: shape_again, buckets: auto}\n  multi_valued:")

_KINDS = ("wide", "deep", "fm", "deepfm", "dcn", "dcn_v2", "finalmlp", "finalnet")
FURTHER = {
    "regression": SMALL.replace("label: click", "label: {column: price, kind: regression}").replace("[price, ", "["),
    "key": SMALL.replace("{kind: random,", "{kind: key, key: user,"),
    "column": SMALL.replace("{kind: random, valid: 0.2, test: 0.2}", "{kind: column, column: color, valid: red}"),
    **{kind: SMALL.replace("model:\n", f"model:\n  kind: {kind}\n  embeddings: {{dim: 4}}\n") for kind in _KINDS},
    **{f"rich {kind}": RICH.replace("kind: wide_deep", f"kind: {kind}") for kind in _KINDS[2:]},
}
"""Further recipes over the same log: other labels, splits and kinds of model."""


def build(case: Case) -> None:
    """Fill the folder of `case`, from which all others copy."""
    _write_log(case.folder / "log.csv", ROWS, random.Random(1))
    for name, text in {"small": SMALL, "rich": RICH}.items():
        (case.folder / f"{name}.yaml").write_text(text)
    case.apart(lambda: _other_formats(case.folder))
    quiet = frozenset({0})
    case.widedeep("train", "rich.yaml", "--work", "work", allowed=quiet)
    case.widedeep("predict", "work/runs/rich/latest", "log.csv", "-o", "expected.csv", allowed=quiet)
    work_cases.measure(case)


def _write_log(path: Path, rows: int, draw: random.Random) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in range(rows):
            color, shape = draw.choice(["red", "green", "b l u e", ""]), draw.choice(["round", "square, or so"])
            tags = "|".join(f"t{draw.randint(0, 5)}:{draw.choice(['1', '0.5'])}" for _ in range(draw.randint(0, 4)))
            age = draw.choice(["", str(draw.randint(18, 80))])
            day = f"2024-0{1 + row // 30}-{1 + row % 28:02d}"
            click = int(draw.random() < (0.7 if color == "red" else 0.3))
            price, weight = round(draw.lognormvariate(1, 1), 2), draw.choice([1, 2, 0.5])
            user = f"u{draw.randint(0, 12)}"
            writer.writerow([color, shape, user, price, age, tags, 1.7e9 + 3600 * row, day, weight, click])
    with (path.parent / "people.csv").open("w", newline="") as file:
        people = [[f"u{user}", draw.choice(["Bern", "Ürümqi", ""]), draw.randint(0, 9999)] for user in range(13)]
        csv.writer(file).writerows([["user", "city", "income"], *people])


def _other_formats(folder: Path) -> None:
    import polars as pl
    import zstandard

    table = pl.read_csv(folder / "log.csv")
    table.write_ndjson(folder / "log.ndjson")
    table.write_parquet(folder / "log.parquet")
    table.write_ipc(folder / "log.arrow")
    (folder / "log.csv.gz").write_bytes(gzip.compress((folder / "log.csv").read_bytes(), mtime=0))
    packed = zstandard.ZstdCompressor(write_checksum=True).compress((folder / "log.ndjson").read_bytes())
    (folder / "log.ndjson.zst").write_bytes(packed)
