"""The model that draws the sample click log: its columns, its users, and how likely each row is to be clicked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from widedeep.synth.draws import (
    LONG_PILOT_ROWS,
    PILOT_ROWS,
    PILOT_START,
    BoolArray,
    Counter,
    Draws,
    FloatArray,
    IntArray,
    Scales,
    sigmoid,
)
from widedeep.synth.heavy import HeavyValue, heavy_logit, heavy_values
from widedeep.synth.users import STRENGTH as USER_STRENGTH
from widedeep.synth.users import Users

START = np.datetime64("2025-01-06T00:00:00", "us")
SPAN_SECONDS = 28 * 24 * 3600
CLICK_RATE = 0.3


def _words(text: str) -> list[str]:
    return text.split()


CATEGORIES = _words("""animals art baking books cars cinema cities cycling dance fashion fitness football
gaming gardens health history homes jobs music news phones politics science travel weather""")
COUNTRIES = _words("""us in br gb de id mx fr jp it es tr pl ca au kr nl ar za eg th ph vn my sa se be ch at pt
gr cz ro hu dk fi no ie il ae sg nz cl co pe ua ng ke ma pk bd lk bg rs hr sk si lt lv ee""")
TAGS = _words("""sale new local video long-read guide review opinion photo live quiz family budget luxury summer winter
festival recipe interview tutorial breaking classic trend vintage green remote student senior pets kids diy tech
outdoor indoor weekend holiday morning evening premium free""")


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{number:0{len(str(count - 1))}d}" for number in range(count)]


@dataclass(frozen=True)
class Categorical:
    """A column whose value number r (from 0) has a probability proportional to (r + 2) ** -zipf."""

    name: str
    values: list[str]
    zipf: float
    strength: float
    """Standard deviation, in logits, of its main effect."""


CATEGORICAL = (
    Categorical("user", _numbered("user", 40_000), 0.8, 0.25),
    Categorical("device", ["phone", "desktop", "tablet"], 0.9, 0.2),
    Categorical("slot", ["top", "inline", "sidebar", "bottom", "overlay"], 0.6, 0.3),
    Categorical("browser", ["chrome", "safari", "edge", "firefox", "samsung", "opera", "brave", "other"], 0.9, 0.1),
    Categorical(
        "format",
        _words("300x250 728x90 320x50 160x600 970x250 300x600 336x280 468x60 320x100 250x250 120x600 200x200"),
        0.7,
        0.15,
    ),
    Categorical("category", CATEGORIES, 0.7, 0.2),
    Categorical("country", COUNTRIES, 0.8, 0.15),
    # The columns of the low-rank pairs have steep tails: their frequent values have enough rows to learn factors from,
    # but no log holds every pair. Their main effects come from the mean of the factors.
    Categorical("advertiser", _numbered("advertiser", 500), 1.3, 0.0),
    Categorical("publisher", _numbered("publisher", 800), 1.3, 0.0),
    Categorical("city", _numbered("city", 1_500), 1.3, 0.0),
    Categorical("keyword", _numbered("keyword", 6_000), 1.3, 0.0),
    Categorical("page", _numbered("page", 20_000), 1.0, 0.15),
)
HOUR_STRENGTH = NUMERIC_STRENGTH = TAG_STRENGTH = 0.15
CROSS_STRENGTH = 0.42
LOW_RANK_STRENGTH = 0.85

NUMERIC_DIGITS = {"age": 0, "price": 2, "past_clicks": 0, "hours_since_visit": 1, "quality": 3}
"""Numeric columns and their decimal places."""

PLANTED = (
    ("category", "country"),
    ("device", "hour"),
    ("slot", "format"),
    ("browser", "category"),
    ("category", "hour"),
    ("country", "format"),
    ("category", "tags"),
)
"""Pairs in which every combination of values has a weight of its own; they are few enough to be memorised. A row may
have several tags: then the weights of their combinations are summed, as for a multi-hot crossed with a one-hot."""

LOW_RANK = (("advertiser", "publisher"), ("city", "keyword"))
"""Pairs whose combinations are too many to memorise; each adds the dot product of two factors."""


@dataclass(frozen=True)
class DrawnRows:
    """Drawn rows, N of them: value numbers, numbers with NaN for missing, tag numbers with -1 for none."""

    seconds: IntArray
    codes: dict[str, IntArray]
    numbers: dict[str, FloatArray]
    tags: IntArray  # [N, 4]

    def frame(self, users: list[str]) -> pl.DataFrame:
        """The rows as columns of the log, in its column order; `users` has the texts of the user numbers."""
        instants = pl.Series(START + self.seconds.astype("timedelta64[s]"))
        columns = {"time": instants.dt.to_string("%Y-%m-%dT%H:%M:%S")}
        for column in CATEGORICAL:
            texts = users if column.name == "user" else column.values
            columns[column.name] = pl.Series(texts).gather(self.codes[column.name])
        columns["hour"] = pl.Series(self.codes["hour"])
        for name, values in self.numbers.items():
            digits = NUMERIC_DIGITS[name]
            number = pl.Series(values).fill_nan(None)
            columns[name] = number.cast(pl.Int64) if digits == 0 else number.round(digits)
        names = [pl.Series(TAGS).gather(pl.Series(tag).set(pl.Series(tag < 0), None)) for tag in self.tags.T]
        joined = pl.DataFrame({str(k): name for k, name in enumerate(names)}).select(
            pl.concat_str(pl.all(), separator="|", ignore_nulls=True).replace("", None)
        )
        columns["tags"] = joined.to_series()
        return pl.DataFrame(columns)


class World:
    """Everything that a seed decides: the users and other values of a row, and how likely it is to be clicked.

    The mean probability of a click is `rate`. If `lift` is above 1, there are heavy values. `users` replace the 40,000
    that a log has otherwise.
    """

    def __init__(self, seed: int, *, rate: float = CLICK_RATE, lift: float = 1.0, users: Users | None = None) -> None:
        self._draws, self._users = Draws(seed), users
        self._user_names = CATEGORICAL[0].values if users is None else users.names()
        self._cdf = {column.name: _zipf_cdf(len(column.values), column.zipf) for column in CATEGORICAL}
        sizes = {column.name: len(column.values) for column in CATEGORICAL} | {"hour": 24, "tags": len(TAGS)}
        sizes["user"] = len(self._user_names)
        self._main = {name: self._draws.normal(f"main/{name}", np.arange(size)) for name, size in sizes.items()}
        self._factors = {
            (pair, name): self._draws.factors(f"factor/{pair}/{name}", sizes[name])
            for pair in LOW_RANK
            for name in pair
        }
        pilot = self.draw(self._draws.pilot(), PILOT_ROWS)
        self._scales = Scales.by_pilot(self._effects(pilot), CLICK_RATE)
        shares = {name: np.diff(cdf, prepend=0.0) for name, cdf in self._cdf.items() if name != "user"}
        self.heavy = heavy_values(self._draws, shares, lift)
        if (rate, lift, users) != (CLICK_RATE, 1.0, None):
            logits = (self._logit(self.draw(index, LONG_PILOT_ROWS)) for index in self._draws.long_pilot())
            self._scales = self._scales.at_rate(logits, rate)

    def draw(self, index: Counter, rows: int) -> DrawnRows:
        """The rows with the numbers `index` of a log of `rows`; their times rise with the number."""
        position = (index % PILOT_START).astype(np.float64) + self._draws.uniform("time", index)
        seconds = (position * (SPAN_SECONDS / rows)).astype(np.int64)
        codes = {name: np.searchsorted(cdf, self._draws.uniform(name, index)) for name, cdf in self._cdf.items()}
        codes["hour"] = seconds // 3600 % 24
        if self._users is not None:
            codes["user"] = self._users.draw(self._draws, index, position / rows)
        return DrawnRows(seconds, codes, self._draw_numbers(index), self._draw_tags(index))

    def _draw_numbers(self, index: Counter) -> dict[str, FloatArray]:
        normal = {name: self._draws.normal(name, index) for name in ("age", "price", "hours_since_visit")}
        numbers = {
            "age": np.clip(np.floor(38.0 + 14.0 * normal["age"]), 18.0, 90.0),
            "price": np.exp(3.0 + normal["price"]),
            "past_clicks": np.floor(self._draws.uniform("past_clicks", index) ** (-1 / 1.2) - 1.0),
            "hours_since_visit": np.exp(3.0 + 2.0 * normal["hours_since_visit"]),
            "quality": self._draws.uniform("quality", index),
        }
        for name, share in (("age", 0.1), ("hours_since_visit", 0.25)):
            numbers[name][self._draws.uniform(f"{name}/missing", index) < share] = np.nan
        return numbers

    def _draw_tags(self, index: Counter) -> IntArray:
        draws = np.stack([self._draws.uniform(f"tag/{k}", index) for k in range(4)], axis=1)
        tags = np.floor(len(TAGS) * draws**2).astype(np.int64)
        tags[np.arange(4) >= np.floor(5 * self._draws.uniform("tag/count", index))[:, None]] = -1
        for k in range(1, 4):
            tags[(tags[:, :k] == tags[:, k : k + 1]).any(axis=1), k] = -1
        return tags

    def _effects(self, rows: DrawnRows) -> Iterator[tuple[float, FloatArray]]:
        """For each effect, in a fixed order: its strength (standard deviation in logits) and its unscaled values."""
        for column in CATEGORICAL:
            strength = USER_STRENGTH if column.name == "user" and self._users is not None else column.strength
            yield strength, self._main[column.name][rows.codes[column.name]]
        yield HOUR_STRENGTH, self._main["hour"][rows.codes["hour"]]
        age, gap = rows.numbers["age"], rows.numbers["hours_since_visit"]
        yield NUMERIC_STRENGTH, np.where(np.isnan(age), -0.5, -(((age - 35.0) / 15.0) ** 2))
        yield NUMERIC_STRENGTH, np.where(np.isnan(gap), -3.0, -np.abs(np.log(gap) - 3.0))
        yield NUMERIC_STRENGTH, -np.log(rows.numbers["price"])
        yield NUMERIC_STRENGTH, np.log1p(rows.numbers["past_clicks"])
        yield NUMERIC_STRENGTH, rows.numbers["quality"] + (rows.numbers["quality"] > 0.8)
        yield TAG_STRENGTH, np.where(rows.tags < 0, 0.0, self._main["tags"][rows.tags]).sum(axis=1)
        for left, right in PLANTED:
            if right == "tags":
                cells = self._cross_weights(left, right, rows.codes[left][:, None], rows.tags)
                yield CROSS_STRENGTH, np.where(rows.tags < 0, 0.0, cells).sum(axis=1)
            else:
                yield CROSS_STRENGTH, self._cross_weights(left, right, rows.codes[left], rows.codes[right])
        for pair in LOW_RANK:
            left_factors, right_factors = (self._factors[pair, name][rows.codes[name]] for name in pair)
            yield LOW_RANK_STRENGTH, (left_factors * right_factors).sum(axis=1)

    def _logit(self, rows: DrawnRows) -> FloatArray:
        return self._scales.logit(self._effects(rows)) + heavy_logit(self.heavy, rows.codes)

    def _cross_weights(self, left: str, right: str, left_codes: IntArray, right_codes: IntArray) -> FloatArray:
        return self._draws.normal(f"cross/{left}/{right}", left_codes * 1_000_000 + right_codes)

    def planted_weights(self, left: str, right: str) -> FloatArray:
        """The effect of each combination of a planted pair on the logit: [values of `left`, values of `right`]."""
        number = len(CATEGORICAL) + 7 + PLANTED.index((left, right))
        _, scale = self._scales.by_effect[number]
        left_codes, right_codes = np.meshgrid(
            np.arange(len(values_of(left))), np.arange(len(values_of(right))), indexing="ij"
        )
        return self._cross_weights(left, right, left_codes, right_codes) * scale

    def labelled(self, index: Counter, rows: int) -> tuple[pl.DataFrame, FloatArray, BoolArray]:
        """The rows with the numbers `index`, click last; their probabilities of a click; their clicks."""
        drawn = self.draw(index, rows)
        probability = sigmoid(self._logit(drawn))
        click = self._draws.uniform("click", index) < probability
        return drawn.frame(self._user_names).with_columns(click=pl.Series(click.astype(np.int8))), probability, click


def text_of(value: HeavyValue) -> str:
    """The text of a heavy value."""
    return values_of(value.column)[value.code]


def values_of(column: str) -> list[str]:
    """The texts of a column (other than the user), in the order of their numbers."""
    if column == "hour":
        return [str(hour) for hour in range(24)]
    if column == "tags":
        return TAGS
    return next(entry.values for entry in CATEGORICAL if entry.name == column)


def _zipf_cdf(size: int, exponent: float) -> FloatArray:
    cdf: FloatArray = np.cumsum((np.arange(size) + 2.0) ** -exponent)
    cdf /= cdf[-1]
    return cdf
