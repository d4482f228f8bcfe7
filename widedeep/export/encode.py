"""Raw rows as the inputs of an exported model, as widedeep encodes them: by the rules and vocabularies of plan.json.

It needs NumPy and xxhash, nothing else.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

import numpy as np
from xxhash import xxh64_intdigest

FORMAT = 1
MISSING, UNKNOWN, FIRST = 0, 1, 2
CROSS_SEED, MISSING_MEMBER, ALL_BITS = 0x77696465_64656570, 0x4D495353_494E4721, 2**64 - 1
START, STEP, FINISH = 0x27D4EB2F_165667C5, 0x9E3779B1_85EBCA87, 0x9E3779B9_7F4A7C15
BLANKS = " \t\N{NO-BREAK SPACE}"
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
PLAIN_NUMBER = re.compile(r"-?(?=\.?\d)(0|[1-9]\d*)?(\.\d*)?([eE][+-]?\d{1,4})?", re.ASCII)
INTEGRAL = re.compile(r"(-?\d+)(\.0*)?", re.ASCII)
INFINITE = re.compile(r"[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
MOMENT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?", re.ASCII
)
FIRST_EPOCH, LAST_EPOCH, LATEST = 631_152_000.0, 4_102_444_800.0, 253_402_300_800.0  # 1990, 2100 and 10000
CALENDAR = timedelta(days=146_097)
LARGEST, LARGEST_INTEGER = 1e18, 2**127
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
PARTS: dict[str, Callable[[datetime], str]] = {
    "hour": lambda at: str(at.hour),
    "weekday": lambda at: WEEKDAYS[at.weekday()],
    "day": lambda at: str(at.day),
    "part_of_day": lambda at: ("night", "morning", "afternoon", "evening")[at.hour // 6],
}


class Encoder:
    """Rows → the model's inputs, by the rules and vocabularies of plan.json."""

    def __init__(self, plan: dict[str, Any]) -> None:
        if plan["format"] != FORMAT:
            raise ValueError(f"plan.json has format {plan['format']}, this encode.py reads {FORMAT}: take its own")
        self.plan = plan
        columns = plan["columns"].values()
        self._needed = [of for column in columns for of in (column["from"], column.get("since_from")) if of is not None]
        self._read = {name: _reader(column) for name, column in plan["columns"].items()}
        self._single = [_index_of(made) for made in plan["indices"]]
        self._lists = [_index_of(made) for made in plan["lists"]]

    def __call__(self, rows: Sequence[dict[str, Any]]) -> "dict[str, np.ndarray[Any, Any]]":
        """The inputs for rows (column → text, number, boolean, list of these, or None). Raises ValueError for a value
        that cannot be read, and for a column that none of the rows has."""
        return self.encoded([{name: read(row) for name, read in self._read.items()} for row in self._whole(rows)])

    def encoded(self, typed: Sequence[dict[str, Any]]) -> "dict[str, np.ndarray[Any, Any]]":
        """The inputs for rows of typed values (typed column → text, number, (values, weights) of a list, or None)."""
        inputs: dict[str, np.ndarray[Any, Any]] = {}
        numerics = self.plan["numerics"]
        if self._single:
            indices = [[index(row)[0] for index in self._single] for row in typed]
            inputs["indices"] = np.array(indices, dtype=np.int64).reshape(len(typed), len(self._single))
        if numerics:
            numbers = [[_scaled(number, row[number["column"]]) for number in numerics] for row in typed]
            inputs["numerics"] = np.array(numbers, dtype=np.float32).reshape(len(typed), len(numerics))
        num_weights = 0
        for number, (made, index) in enumerate(zip(self.plan["lists"], self._lists, strict=True)):
            lists = [index(row) for row in typed]
            inputs[f"values_{number}"] = np.array([value for row in lists for value in row], dtype=np.int64)
            inputs[f"bounds_{number}"] = np.cumsum([0, *map(len, lists)], dtype=np.int64)
            if made["weights"]:
                weights = [weight for row in typed for weight in _weights(row, made["weights"])]
                inputs[f"weights_{num_weights}"] = np.array(weights, dtype=np.float32)
                num_weights += 1
        return inputs

    def _whole(self, rows: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
        if not all(isinstance(row, dict) for row in rows):
            raise ValueError("a row must be an object of columns and their values")
        for column in self._needed:
            if rows and not any(column in row for row in rows):
                raise ValueError(f"no row has the column {column!r}: send null where its value is missing")
        return rows

    def request(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The rows as a request of the Open Inference Protocol, version 2."""
        kinds = {"int64": "INT64", "float32": "FP32"}
        inputs = [
            {"name": name, "shape": list(of.shape), "datatype": kinds[of.dtype.name], "data": of.ravel().tolist()}
            for name, of in self(rows).items()
        ]
        return {"inputs": inputs, "outputs": [{"name": "score"}]}


# ------------------------------------------------------------------------------------------- typed values of a raw row


def _reader(column: dict[str, Any]) -> Callable[[dict[str, Any]], Any]:
    """What makes a typed value of a row: a text, a number, (values, weights) of a list, or None."""
    make = {"text": _text, "number": _number, "list": _list, "age": _age}.get(column["as"], _part)

    def read(row: dict[str, Any]) -> Any:
        try:
            value = row.get(column["from"])
            kind = "text" if isinstance(value, str) else "list" if isinstance(value, list) else "number"
            kind = "boolean" if isinstance(value, bool) else kind
            if value is not None and column["kind"] not in (None, "text", kind) and kind != "text":
                raise ValueError(f"training saw {column['kind']} values")
            return make(value, column, row)
        except (ValueError, OverflowError) as error:
            if column["bad_is_missing"] and isinstance(error, _BadValueError):
                return None
            raise ValueError(f"column {column['from']!r}: {row.get(column['from'])!r}: {error}") from None

    return read


class _BadValueError(ValueError):
    """A value that `data.bad_numbers: missing` counts as missing."""


def _cleaned(text: str, column: dict[str, Any]) -> str | None:
    text = text.strip(BLANKS) if column["trim"] else text
    return None if text in column["missing"] else text


def _canonical(value: Any, column: dict[str, Any]) -> str | None:
    """The one text that stands for a plain value."""
    if value is None or isinstance(value, str):
        return value if value is None else _cleaned(value, column)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, float):
        raise ValueError("must be a text, a number, a boolean or null")
    return _float_text(value)


def _float_text(value: float) -> str | None:
    if value.is_integer():
        return str(int(value)) if -LARGEST_INTEGER <= value < LARGEST_INTEGER else repr(value)
    if math.isnan(value):
        return None
    text = repr(value)
    return f"{Decimal(text):f}" if "e" in text and abs(value) >= 1e-5 else text.replace("e-0", "e-")


def _written(text: str | None, form: str | None) -> str | None:
    """A text in the one writing of its column: all numbers, all booleans, or any texts."""
    if text is None or form is None:
        return text
    if form == "boolean":
        return text.lower() if text.lower() in ("true", "false") else text
    if not PLAIN_NUMBER.fullmatch(text):
        if INFINITE.fullmatch(text):
            return "-inf" if text.startswith("-") else "inf"
        return None if text.lower() == "nan" else text
    if integral := INTEGRAL.fullmatch(text):
        return "0" if integral[1] == "-0" else integral[1]
    digits = re.sub(r"[eE].*$|\D", "", text).lstrip("0")
    if len(digits) > 17 and "e" not in text.lower():
        return text.rstrip("0")
    return _float_text(float(text)) if math.isfinite(float(text)) else text


def _text(value: Any, column: dict[str, Any], row: dict[str, Any]) -> str | None:
    if isinstance(value, list):
        raise ValueError("must be one value, is a list")
    return _written(_canonical(value, column), column["form"])


def _number(value: Any, column: dict[str, Any], row: dict[str, Any]) -> float | None:
    value = _cleaned(value, column) if isinstance(value, str) else value
    if value is None:
        return None
    if isinstance(value, str):
        if value.lower() in ("true", "false"):
            return float(value.lower() == "true")
        value = float(value) if NUMBER.fullmatch(value) else None if value == "" else math.nan
    elif not isinstance(value, int | float):
        raise ValueError("must be a number, a text or null")
    number = None if value is None else _float(value)
    if number is not None and not math.isfinite(number):
        raise _BadValueError("is not a finite number")
    return number


def _float(value: float) -> float:
    """An integer beyond all floats is infinite, as other readers of JSON take it."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _list(value: Any, column: dict[str, Any], row: dict[str, Any]) -> tuple[list[str], list[float]] | None:
    if value is not None and not isinstance(value, list):
        if column["separator"] is None:
            raise ValueError("must be a list")
        text = _canonical(value, column)
        value = None if text is None else text.split(column["separator"])
    values, weights = [], []
    for item in value or []:
        text, weight = _canonical(item, column) or None, 1.0
        if text is None:
            continue
        if (separator := column["weight_separator"]) is not None:
            text, _, number = text.rpartition(separator) if separator in text else (text, "", "1")
            text, number = text.strip(BLANKS), number.strip(BLANKS)
            weight = float(np.float32(number)) if NUMBER.fullmatch(number) else math.nan
            if not 0 <= weight < math.inf:
                if column["bad_is_missing"]:
                    continue
                raise ValueError(f"the weight {number!r} is not a finite number that is not negative")
        if text and not (column["form"] == "numbers" and text.lower() == "nan"):
            values.append(text)
            weights.append(weight)
    most, form = column["max_length"], "number" if column["form"] == "numbers" else column["form"]
    texts = [_written(text, form) or text for text in values[:most]]
    return (texts, weights[:most]) if texts else None


def _moment(value: Any, column: dict[str, Any]) -> float | None:
    """Seconds since 1970 UTC."""
    value = _cleaned(value, column) if isinstance(value, str) else value
    if value is None:
        return None
    if isinstance(value, bool | list):
        raise ValueError("must be a date, a time or a number")
    seconds, is_number = math.nan, isinstance(value, int | float)
    if isinstance(value, str) and NUMBER.fullmatch(value):
        value, is_number = float(value), True
    if is_number:
        seconds = _float(value) / (column["units"] or 1.0)
        if not math.isfinite(seconds) or (column["units"] is None and not FIRST_EPOCH <= seconds < LAST_EPOCH):
            seconds = math.nan
    elif isinstance(value, str) and column["units"] is None and (found := MOMENT.fullmatch(value)):
        date, clock, second, fraction, zone = found.groups()
        offset = "+00:00" if zone in (None, "Z") else f"{zone[:3]}:{zone[3:].lstrip(':') or '00'}"
        microsecond = (fraction or "").ljust(6, "0")[:6]
        try:
            at = datetime.fromisoformat(f"{date}T{(clock or '00:00').zfill(5)}:{second or '00'}.{microsecond}{offset}")
            seconds = (at - datetime.fromisoformat("1970-01-01T00:00+00:00")) / timedelta(microseconds=1) / 1e6
        except ValueError:
            pass
    if math.isnan(seconds):
        raise _BadValueError("is not a time")
    if abs(seconds) > LATEST:
        raise ValueError("is too large for a time")
    return min(seconds, math.nextafter(LATEST, 0.0))


def _part(value: Any, column: dict[str, Any], row: dict[str, Any]) -> str | None:
    seconds = _moment(value, column)
    if seconds is None:
        return None
    # Python's moments begin with the year 1; a calendar of 400 years repeats, days of the week included.
    return PARTS[column["as"]](datetime(1970, 1, 1) + timedelta(microseconds=int(seconds * 1e6)) % CALENDAR)


def _age(value: Any, column: dict[str, Any], row: dict[str, Any]) -> float | None:
    """In days."""
    seconds, since = (
        _moment(value, column),
        _moment(row.get(column["since_from"]), {**column, "units": column["since_units"]}),
    )
    return None if seconds is None or since is None else (seconds - since) / 86400.0


# ------------------------------------------------------------------------------------------------------ encoded values


def _bucket(value: float, number: dict[str, Any], cuts: Sequence[float]) -> int:
    """How many of the ascending cut points are at or below the clipped value."""
    return bisect_right(cuts, _clipped(value, number["clip"]))


def _clipped(value: float, clip: Sequence[float | None] | None) -> float:
    low, high = clip or (None, None)
    value = value if low is None else max(value, low)
    return value if high is None else min(value, high)


def _scaled(number: dict[str, Any], value: float | None) -> float:
    if number["transform"] == "is_missing":
        return float(value is None)
    if value is None:
        return 0.5 if number["transform"] in ("cdf", "minmax") else 0.0
    if number["transform"] == "cdf":
        return _bucket(value, number, number["cuts"]) / max(1, len(number["cuts"]))
    value = _clipped(value, number["clip"])
    if number["transform"] == "log1p":
        value = math.copysign(math.log1p(abs(value)), value)
    if number["transform"] != "none":
        value = (value - number["mean"]) / number["scale"]
    if number["transform"] == "minmax":
        value = min(max(value, 0.0), 1.0)
    return min(max(value, -LARGEST), LARGEST)


def _index_of(made: dict[str, Any]) -> Callable[[dict[str, Any]], list[int]]:
    """What makes a row's indices: one, or one for each value of a list."""
    if made["kind"] == "bucketed":
        cuts, column = made["cuts"], made["column"]
        return lambda row: [MISSING if row[column] is None else _bucket(row[column], made, cuts) + FIRST]
    known = None
    if made["vocabulary"] is not None:
        values = made["vocabulary"] if made["kind"] == "values" else (int(mix, 16) for mix in made["vocabulary"])
        known = {value: index for index, value in enumerate(values, FIRST)}
    if made["kind"] == "cross":
        members = made["members"]
        # Of several lists, the first field's value is the slowest to vary, wherever it stands among the members.
        order = sorted(range(len(members)), key=lambda place: int(members[place]["varies"]))
        places = [order.index(place) for place in range(len(members))]

        def crossed(row: dict[str, Any]) -> list[int]:
            hashes = [_hashes(members[place], row) for place in order]
            mixes = (_mixed([each[place] for place in places]) for each in product(*hashes))
            return [known.get(mix, UNKNOWN) if known is not None else mix % made["buckets"] + FIRST for mix in mixes]

        return crossed

    def index(value: str | None) -> int:
        if value is None:
            return MISSING
        if known is not None:
            return known.get(value, UNKNOWN)
        return int(xxh64_intdigest(value.encode(), made["seed"]) % made["buckets"]) + FIRST

    return lambda row: [index(value) for value in _values(row[made["column"]])]


def _values(value: Any) -> Sequence[Any]:
    return value[0] if isinstance(value, tuple) else (value,)


def _weights(row: dict[str, Any], columns: Sequence[str]) -> Iterable[float]:
    """The weight of each combination of the lists' values; a missing list weighs 1."""
    each = [(1.0,) if row[column] is None else row[column][1] for column in columns]
    return (float(np.prod(weights, dtype=np.float32)) for weights in product(*each))


def _hashes(member: dict[str, Any], row: dict[str, Any]) -> list[int]:
    values = _values(row[member["column"]])
    if member["cuts"] is not None:
        values = [None if value is None else str(_bucket(value, member, member["cuts"])) for value in values]
    return [MISSING_MEMBER if value is None else xxh64_intdigest(value.encode(), CROSS_SEED) for value in values]


def _mixed(hashes: Sequence[int]) -> int:
    state = START
    for member in hashes:
        state = (state ^ member) * STEP & ALL_BITS
        state ^= state >> 32
    state = state * FINISH & ALL_BITS
    return state ^ state >> 32
