"""A small log with planted crosses, of a number and of lists too."""

from pathlib import Path

import numpy as np
import polars as pl

ROWS = 6_000


def write_clicks(folder: Path, kind: str = "") -> Path:
    """`clicks.yaml` in `folder`, whose label hangs on a x b and shape x n; `kind` says what is special."""
    draw = np.random.default_rng(3)
    a, b, c, d = draw.integers(0, 6, (4, ROWS))
    shapes = [draw.integers(0, 5, length) for length in draw.integers(1, 4, ROWS)]
    n = draw.normal(size=ROWS)
    listed = np.array([np.isin(shape, [1, 2]).sum() - 1.0 for shape in shapes])
    logit = draw.normal(0, 1, (6, 6))[a, b] + 0.9 * listed * np.sign(n) + 0.1 * a
    if kind == "regression":
        y = logit + draw.normal(0, 0.5, ROWS)
    else:
        y = (draw.random(ROWS) < 1 / (1 + np.exp(-logit))).astype(np.int64)
    frame = pl.DataFrame(
        {
            **{name: [f"v{code}" for code in codes] for name, codes in zip("abcd", (a, b, c, d), strict=True)},
            "shape": [" ".join(map(str, shape)) for shape in shapes],
            "n": n,
            "w": draw.integers(0, 3, ROWS).astype(np.float64),
            "y": y,
        }
    )
    frame.write_parquet(folder / "log.parquet")
    label = "{column: y, kind: regression}" if kind == "regression" else "y"
    weight = "  weight: w\n" if kind == "weights" else ""
    known = "crosses:\n  - [a, b]\n" if kind == "known" else ""
    (folder / "clicks.yaml").write_text(
        f"data:\n  train: log.parquet\n  label: {label}\n{weight}  split: {{kind: random, valid: 0.0, test: 0.0}}\n"
        "features:\n  categorical: [a, b, c, d]\n  multi_valued: [{column: shape, separator: ' '}]\n"
        f"  numeric: [n]\n{known}"
    )
    return folder / "clicks.yaml"
