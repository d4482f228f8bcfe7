"""Tables with damaged bytes, and columns of every type in every role, which each format must give the same scores."""

import datetime as dt
import json
import math
from decimal import Decimal
from typing import Any

import base
import yaml
from cases import Case, Find, farthest, scores
from changes import damage

_ROWS = 48
_DAY = dt.datetime(2024, 3, 1)
_VALUES: dict[str, list[Any]] = {
    "Int8": [0, 1, -128, 127, 5],
    "Int16": [0, 1, -32768, 32767],
    "Int32": [0, 1, 7, -(2**31), 2**31 - 1],
    "Int64": [0, 1, 2, -999, 2**53 + 1, 2**63 - 1, -(2**63), 20240101, 1700000000],
    "UInt8": [0, 1, 255],
    "UInt16": [0, 1, 65535],
    "UInt32": [0, 1, 2**32 - 1],
    "UInt64": [0, 1, 2**64 - 1, 2**53 + 1],
    "Int128": [0, 1, 2**100, -5],
    "Float16": [0.5, 1.0, -2.25, 0.0],
    "Float32": [0.1, 1.0, -0.0, 3.4e38, 1e-45, 16777217.0],
    "Float64": [0.1, 1.0, 0.0, -0.0, 1.7e308, 5e-324, math.nan, math.inf, -math.inf, 1e20],
    "Boolean": [True, False],
    "String": ["a", "b c", "é", "NaN", "1", "01", "1.0", "true", "null", "a,b", 'q"q', "l\nl", "[1]", "\ufeffx", "𝕏"],
    "Categorical": ["x", "y", "z z"],
    "Enum": ["lo", "hi"],
    "Binary": [b"a", b"bc", b"\xff"],
    "Date": [_DAY.date(), dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(1969, 12, 31)],
    "Datetime(ms)": [_DAY, dt.datetime(1900, 1, 1, 5), _DAY + dt.timedelta(hours=7)],
    "Datetime(us)": [_DAY, _DAY + dt.timedelta(microseconds=1), dt.datetime(9999, 12, 31, 23)],
    "Datetime(ns)": [_DAY, dt.datetime(1700, 1, 1), _DAY + dt.timedelta(seconds=59)],
    "Datetime(zoned)": [_DAY, _DAY + dt.timedelta(hours=1, seconds=3)],
    "Time": [dt.time(0), dt.time(23, 59, 59, 999_999), dt.time(12)],
    "Duration": [dt.timedelta(0), dt.timedelta(days=-3), dt.timedelta(hours=1)],
    "Decimal": [Decimal("0.10"), Decimal("5.00"), Decimal("-3.25")],
    "Null": [None],
    "List": [["a", "b"], [], ["b"], ["a", None]],
    "List of numbers": [[1, 2], [], [2], [3, None]],
    "List of lists": [[["a"], []], [["b", "c"]]],
    "Array": [["a", "b"], ["b", "c"]],
    "Struct": [{"a": 1, "b": "x"}, {"a": None, "b": "y"}],
    "Object": [{1}, {2}],
}
"""Type of a column -> values that are drawn for it."""

_ROLES: dict[str, dict[str, Any]] = {
    "numeric": {"features": {"numeric": ["x"]}},
    "buckets": {"features": {"numeric": [{"column": "x", "transform": "minmax", "buckets": 3}]}},
    "log1p": {"features": {"numeric": [{"column": "x", "transform": "log1p", "clip": [-5, 1e9]}]}},
    "categorical": {"features": {"categorical": [{"column": "x", "min_count": 1}]}},
    "hashed": {"features": {"categorical": [{"column": "x", "buckets": 50}]}},
    "multi_valued": {"features": {"multi_valued": [{"column": "x", "min_count": 1}]}},
    "separated": {"features": {"multi_valued": [{"column": "x", "separator": ",", "min_count": 1}]}},
    "json": {"features": {"multi_valued": [{"column": "x", "form": "json", "min_count": 1}]}},
    "date_time": {"features": {"date_time": ["x"]}},
    "since": {"features": {"date_time": [{"column": "when", "since": {"column": "x"}}]}},
    "cross": {"features": {"categorical": [{"column": "x", "min_count": 1}]}, "crosses": [["x", "c"]]},
    "label": {"data": {"label": "x"}},
    "regression": {"data": {"label": {"column": "x", "kind": "regression"}}},
    "positive": {"data": {"label": {"column": "x", "positive": ["a", 1, "x", "lo"]}}},
    "weight": {"data": {"weight": "x"}},
    "group": {"data": {"group": "x"}},
    "time": {"data": {"time": "x", "split": {"kind": "time", "valid": 0.2, "test": 0.0}}},
    "key": {"data": {"split": {"kind": "key", "key": "x", "valid": 0.2, "test": 0.0}}},
    "column": {"data": {"split": {"kind": "column", "column": "x", "valid": ["a", 1, "x", True]}}},
    "join": {"data": {"tables": {"t": {"files": "side.parquet", "key": "x"}}}, "features": {"categorical": ["t.v"]}},
}
"""Role of column x -> what the recipe says of it."""

_FORMATS = ("parquet", "csv", "ndjson", "arrow")


def run(case: Case) -> None:
    """Damage the bytes of a table, or put a column of some type into some role."""
    _damaged(case) if case.draw.random() < 0.5 else _typed(case)


def _damaged(case: Case) -> None:
    name = case.draw.choice(base.LOG_FILES)
    content = bytearray((case.base / name).read_bytes())
    cut = case.draw.random() < 0.2
    if cut:
        del content[case.draw.randrange(len(content)) :]
    else:
        for _ in range(case.draw.choice([1, 1, 2, 8])):
            damage(case.draw, content)
    (case.folder / name).write_bytes(content)
    case.take("people.csv", "rich.yaml")
    command = case.draw.choice(["predict", "predict", "predict", "ingest", "train", "init", "eval"])
    latest = case.base / "work/runs/rich/latest"
    ended = case.widedeep(
        *{
            "predict": ("predict", latest, name, "-o", case.draw.choice(["s.csv", "s.parquet", "s.ndjson"])),
            "eval": ("eval", latest, name),
            "init": ("init", name, "--label", "click"),
            "ingest": ("ingest", "rich.yaml", "--work", "w", "--set", f"data.train={name}"),
            "train": ("train", "rich.yaml", "--work", "w", "--set", f"data.train={name}"),
        }[command]
    )
    if ended.code != 0 and list(case.folder.glob("s.*")):
        raise Find("scores were left although the command failed")
    if cut and ended.code == 0 and command != "init" and not name.endswith((".csv", ".ndjson")):
        raise Find(f"{name}, cut to {len(content)} bytes, is read without a word")


def _typed(case: Case) -> None:
    kind, role = case.draw.choice(sorted(_VALUES)), case.draw.choice(sorted(_ROLES))
    values = case.draw.sample(_VALUES[kind], case.draw.randint(1, len(_VALUES[kind])))
    values += [None] * case.draw.choice([0, 0, 1])
    column = [case.draw.choice(values) for _ in range(_ROWS)]
    if case.draw.random() < 0.05:
        column = [None] * _ROWS
    case.say(f"a column of {kind} as {role}: {values}")
    parts = {ending: case.draw.choice([1, 1, 3]) for ending in _FORMATS}
    files = {ending: [f"log-{part}.{ending}" for part in range(count)] for ending, count in parts.items()}
    case.apart(lambda: _write(case, kind, column, files))
    trained = case.draw.choice([ending for ending in _FORMATS if (case.folder / files[ending][-1]).exists()])
    recipe = _recipe(role, files[trained], case.draw.choice(["error", "missing"]))
    (case.folder / "r.yaml").write_text(yaml.safe_dump(recipe))
    ended = case.widedeep("train", "r.yaml", "--work", "w")
    if ended.code != 0:
        return
    first: tuple[str, list[float]] | None = None
    for ending in _FORMATS:
        if not (case.folder / files[ending][-1]).exists():
            continue
        predicted = case.widedeep("predict", "r.yaml", *files[ending], "-o", f"{ending}.csv", "--work", "w")
        if predicted.code != 0:
            continue
        given = scores((case.folder / f"{ending}.csv").read_text())
        if not all(map(math.isfinite, given)):
            raise Find(f"{ending} has scores that are not finite")
        if first is not None and farthest(first[1], given) > 1e-6:
            raise Find(
                f"{kind} as {role}, trained on {trained}: {ending} and {first[0]} differ by {farthest(first[1], given):g}"
            )
        first = first or (ending, given)


def _recipe(role: str, trained: list[str], bad_numbers: str) -> dict[str, Any]:
    said = json.loads(json.dumps(_ROLES[role]))
    split = {"kind": "random", "valid": 0.2, "test": 0.0}
    features = said.get("features", {})
    features["categorical"] = [*features.get("categorical", ()), {"column": "c", "min_count": 1}]
    return {
        "name": "typed",
        "data": {"train": trained, "label": "y", "split": split, "bad_numbers": bad_numbers, **said.get("data", {})},
        "features": features,
        "crosses": said.get("crosses", []),
        "model": {"deep": {"hidden": [4]}, "embeddings": {"dim": 4}},
        "training": {"epochs": 1, "batch_size": 16, "threads": 1, "deep": {"learning_rate": 0.05}},
    }


def _write(case: Case, kind: str, column: list[Any], files: dict[str, list[str]]) -> None:
    import polars as pl

    types: dict[str, Any] = {
        "Datetime(zoned)": pl.Datetime("us", "Europe/Zurich"),
        "Enum": pl.Enum(["hi", "lo"]),
        "Decimal": pl.Decimal(12, 2),
        "List": pl.List(pl.String),
        "List of numbers": pl.List(pl.Int64),
        "List of lists": pl.List(pl.List(pl.String)),
        "Array": pl.Array(pl.String, 2),
        "Struct": pl.Struct({"a": pl.Int64, "b": pl.String}),
        **{f"Datetime({unit})": pl.Datetime(unit) for unit in ("ms", "us", "ns")},
    }
    dtype = types[kind] if kind in types else getattr(pl, kind)
    draw = case.draw
    labels = [draw.randint(0, 1) for _ in range(_ROWS)]
    moments = [_DAY + dt.timedelta(hours=row) for row in range(_ROWS)]
    colors = [draw.choice("pqr") for _ in range(_ROWS)]
    series = pl.Series(column, dtype=dtype, strict=False)
    table = pl.DataFrame({"x": series, "c": colors, "when": moments, "y": labels})
    side = table.unique("x", maintain_order=True).drop_nulls("x").select("x", v="c")
    side.write_parquet(case.folder / "side.parquet")
    finite = not series.dtype.is_float() or series.drop_nulls().is_finite().all()
    for ending, names in files.items():
        if ending == "ndjson" and not finite:
            continue  # JSON has no such numbers
        ordered = table.select(draw.sample(table.columns, table.width))
        rows = -(-_ROWS // len(names))
        for place, name in enumerate(names):
            part, path = ordered.slice(place * rows, rows), case.folder / name
            writers = {"csv": part.write_csv, "ndjson": part.write_ndjson, "arrow": part.write_ipc}
            try:
                writers.get(ending, part.write_parquet)(path)
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
                path.unlink(missing_ok=True)
