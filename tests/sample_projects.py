"""A small click log and recipes for it, shared by fixtures and tests."""

import csv
import json
import math
import random
from pathlib import Path
from typing import Any

RECIPE = """\
name: small
data:
  train: log.csv
  label: click
  split: {kind: random, valid: 0.15, test: 0.15}
features:
  numeric:
    - {column: price, buckets: 5}
    - {column: age, transform: standard}
  categorical: [color, {column: user, buckets: 50}, shape]
crosses:
  - [color, shape]
  - {fields: [price, color], buckets: 100}
model:
  deep: {hidden: [16, 8], dropout: 0.1}
training:
  epochs: 2
  batch_size: 128
  threads: 1
"""


def write_log(path: Path, rows: int, seed: int = 0) -> None:
    """A log whose label depends on a pair of colour and shape, a number and chance."""
    draw = random.Random(seed)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "color", "shape", "user", "price", "age", "click"])
        for row in range(rows):
            color = draw.choice(["red", "green", "blue", ""])
            shape = draw.choice(["round", "square, or so", "flat"])
            price = round(draw.lognormvariate(1.0, 1.0), 2)
            age = "" if draw.random() < 0.1 else draw.randint(18, 80)
            logit = (1.5 if (len(color) + len(shape)) % 2 else -1.5) - 0.3 * math.log(price)
            click = int(draw.random() < 1 / (1 + math.exp(-logit)))
            writer.writerow([row, color, shape, f"u{int(draw.paretovariate(0.7)) % 400}", price, age, click])


RICH_RECIPE = """\
name: rich
data:
  train: log.csv
  label: click
  format: {missing: ["", "n/a"]}
  tables:
    users: {files: users.csv, key: user, on: member}
features:
  numeric: [price, users.age]
  categorical: [color]
  multi_valued:
    - {column: tags, separator: "|", weight_separator: ":", max_length: 3}
  date_time:
    - {column: seen, parts: [hour], since: born}
crosses: [[color, tags]]
model:
  deep: {hidden: [4]}
training: {epochs: 1, batch_size: 128, threads: 1}
"""


def only_json(stdout: str) -> Any:
    """The one JSON object that `--json` promises; anything beside it fails."""
    return json.loads(stdout)
