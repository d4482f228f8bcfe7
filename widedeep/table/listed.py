"""Values that a recipe lists (labels, folds of a split): which rows hold them, and which no row holds."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from widedeep.recipe.schema import Scalar
from widedeep.source.canonical import canonical_scalar
from widedeep.source.forms import boolean_text, number_text


class ListedValues:
    """The values of one setting.

    A text in the recipe means that very text. A number or a boolean means every text that is that number or boolean:
    4 is `4`, `4.0` and `4.00`, true is `true` and `True`.
    """

    def __init__(self, setting: str, values: Sequence[Scalar]) -> None:
        """`setting` is what messages call it, such as data.label.positive."""
        self.setting = setting
        self._values = list(values)
        self._held: set[int] = set()

    def held(self, texts: pl.Series) -> NDArray[np.bool_]:
        """Whether each row holds one of the values: [rows]; null holds none."""
        # Read once for each different text: a fold has a handful, a million rows long.
        different = texts.unique().drop_nulls()
        written: dict[str, pl.Series] = {}
        listed = pl.Series(np.zeros(len(different), dtype=np.bool_))
        for place, value in enumerate(self._values):
            kind = _kind(value)
            if kind not in written:
                written[kind] = different.to_frame("text").select(_READ[kind](pl.col("text"))).to_series()
            same = (written[kind] == canonical_scalar(value)).fill_null(False)
            if same.any():
                self._held.add(place)
            listed |= same
        return texts.is_in(different.filter(listed).implode()).fill_null(False).to_numpy()

    def merge(self, other: "ListedValues") -> None:
        """Note what `other`, of the same setting, has seen of other rows."""
        self._held |= other._held

    def unheld(self) -> list[Scalar]:
        """The values that no row held so far."""
        return [value for place, value in enumerate(self._values) if place not in self._held]


_READ: dict[str, Callable[[pl.Expr], pl.Expr]] = {
    "number": number_text,
    "boolean": boolean_text,
    "text": lambda text: text,
}


def _kind(value: Scalar) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float) else "text"
