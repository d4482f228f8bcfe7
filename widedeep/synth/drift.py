"""The model that draws a drifting click log: items and users that come and go, effects that move from day to day."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from widedeep.synth.draws import (
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
from widedeep.synth.users import Users
from widedeep.synth.world import CATEGORIES, CLICK_RATE, START

DAY_SECONDS = 24 * 3600
DEVICES = ("phone", "desktop", "tablet", "tv", "watch")
SITES = 60
NEW_USERS = 0.3
"""Share of the rows with a visitor, who stays for a small part of the log, as with `--new-users`."""
ITEM_DAYS = 8.0
"""Days that an item is shown, most often when it is new."""
ITEM_ROWS = 60
"""Mean number of rows of an item."""
DRIFTING = (("site",), ("category",), ("device", "site"), ("category", "hour"))
"""Columns, and pairs of them, whose effects move."""
_STRENGTHS = {"user": 0.6, "item": 0.6, "price": 0.3, "site": 0.5, "category": 0.4}
_PAIR_STRENGTH = 0.5


@dataclass(frozen=True)
class _Rows:
    time: FloatArray
    """From 0 to 1 over the log; [N]."""
    codes: dict[str, IntArray]
    price: FloatArray


class DriftingWorld:
    """Everything that a seed decides of a log of `rows` rows over `days` days.

    The effect of a moving value at time t (from 0 to 1 over the log) is a cos(angle) + b sin(angle), where a and b are
    drawn once and the angle is `drift` t pi / 2. With a drift of 0 nothing moves; with 1 the last effects have nothing
    to do with the first ones; with 2 they are their opposites.
    """

    def __init__(self, seed: int, rows: int, days: int, drift: float, rate: float = CLICK_RATE) -> None:
        self.rows, self.days, self.drift = rows, days, drift
        self._draws, self._users = Draws(seed), Users(rows, NEW_USERS)
        self._items_a_day = max(1.0, rows / days / ITEM_ROWS)
        pilot = self._draw(self._draws.pilot(), PILOT_ROWS)
        self._scales = Scales.by_pilot(self._effects(pilot), rate)

    def day_of(self, index: Counter) -> IntArray:
        """The day of each row, from 0; [N]."""
        return (self._time(index, self.rows) * self.days).astype(np.int64)

    def labelled(self, index: Counter) -> tuple[pl.DataFrame, FloatArray, BoolArray]:
        """The rows with the numbers `index`, click last; their probabilities of a click; their clicks."""
        drawn = self._draw(index, self.rows)
        probability = sigmoid(self._scales.logit(self._effects(drawn)))
        click = self._draws.uniform("click", index) < probability
        seconds = (drawn.time * (self.days * DAY_SECONDS)).astype(np.int64)
        columns = {
            "time": pl.Series(START + seconds.astype("timedelta64[s]")).dt.to_string("%Y-%m-%dT%H:%M:%S"),
            "user": pl.Series(self._users.names()).gather(drawn.codes["user"]),
            "item": "item_" + pl.Series(drawn.codes["item"]).cast(pl.String),
            "site": "site_" + pl.Series(drawn.codes["site"]).cast(pl.String),
            "category": pl.Series(CATEGORIES).gather(drawn.codes["category"]),
            "device": pl.Series(DEVICES).gather(drawn.codes["device"]),
            "hour": pl.Series(drawn.codes["hour"]),
            "price": pl.Series(drawn.price).round(2),
            "click": pl.Series(click.astype(np.int8)),
        }
        return pl.DataFrame(columns), probability, click

    def weights(self, column: str, time: float) -> dict[str, float]:
        """Value → effect in logits at `time`, of the sites or the categories."""
        texts = [f"site_{number}" for number in range(SITES)] if column == "site" else CATEGORIES
        values = self._moving(column, np.arange(len(texts)), np.full(len(texts), time))
        mean, scale = self._scales.by_effect[3 + DRIFTING.index((column,))]
        return {text: round(float(effect), 4) for text, effect in zip(texts, (values - mean) * scale, strict=True)}

    def _time(self, index: Counter, rows: int) -> FloatArray:
        position = (index % PILOT_START).astype(np.float64) + self._draws.uniform("time", index)
        return position / rows

    def _draw(self, index: Counter, rows: int) -> _Rows:
        uniform = self._draws.uniform
        time = self._time(index, rows)
        day = time * self.days
        # Items are numbered by their first day; most rows have one that is new.
        item = np.floor((day + ITEM_DAYS - ITEM_DAYS * uniform("item", index) ** 2) * self._items_a_day)
        codes = {
            "user": self._users.draw(self._draws, index, time),
            "item": item.astype(np.int64),
            "site": np.floor(SITES * uniform("site", index) ** 2).astype(np.int64),
            "device": np.floor(len(DEVICES) * uniform("device", index) ** 1.5).astype(np.int64),
            "hour": np.floor(day * 24.0).astype(np.int64) % 24,
        }
        codes["category"] = np.floor(len(CATEGORIES) * uniform("item/category", codes["item"])).astype(np.int64)
        return _Rows(time, codes, np.exp(3.0 + self._draws.normal("price", index)))

    def _effects(self, rows: _Rows) -> Iterator[tuple[float, FloatArray]]:
        """For each effect, in a fixed order: its strength (standard deviation in logits) and its unscaled values."""
        for name in ("user", "item"):
            yield _STRENGTHS[name], self._draws.normal(f"main/{name}", rows.codes[name])
        yield _STRENGTHS["price"], -np.log(rows.price)
        for columns in DRIFTING:
            code = rows.codes[columns[0]]
            if len(columns) == 2:
                code = code * 1_000 + rows.codes[columns[1]]
            strength = _STRENGTHS[columns[0]] if len(columns) == 1 else _PAIR_STRENGTH
            yield strength, self._moving("/".join(columns), code, rows.time)

    def _moving(self, name: str, code: IntArray, time: FloatArray) -> FloatArray:
        angle = self.drift * time * (np.pi / 2.0)
        first, second = (self._draws.normal(f"moving/{name}/{part}", code) for part in ("first", "second"))
        return first * np.cos(angle) + second * np.sin(angle)


def drifting_recipe(rows: int, seed: int, days: int, best_auc: float) -> str:
    """The recipe of a drifting log."""
    crosses = "\n".join(f"  - [{', '.join(columns)}]" for columns in DRIFTING if len(columns) == 2)
    return f"""\
# Trains on the drifting log beside it ({rows:,} rows over {days} days, seed {seed}). The best AUC that any model could
# reach, knowing each day's effects: {best_auc:.3f}. `widedeep backtest` trains it day by day.
name: drifting

data:
  train: log.csv              # relative to this file
  label: click
  time: time
  split:                      # the last days are held out, as in production: the past predicts the future
    kind: time
    valid: 0.1
    test: 0.1

features:
  numeric: [price]
  categorical: [user, item, site, category, device, hour]

crosses:
{crosses}

model:
  kind: wide_deep
  embeddings:
    dim: 8
  deep:
    hidden: [64, 32]

training:
  epochs: 6
  batch_size: 512
"""
