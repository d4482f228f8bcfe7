"""Which columns name single rows, so that what one value teaches helps no other: one rule for `init` and `ingest`."""

import math

_SHARE = 0.95
_LEAST_ROWS = 30
"""Fewer rows may differ by chance."""


def is_id_like(distinct: float, train_rows: float) -> bool:
    """Whether nearly every train row with a value (`train_rows`) has one of its own, of `distinct` in these rows.

    How many later values are new is of no matter: a user with several rows teaches something, and training meets
    unknown values too.
    """
    return train_rows >= _LEAST_ROWS and distinct >= _SHARE * train_rows


def most_distinct_in_part(distinct: float, rows: float, share: float) -> float:
    """The most values, but for chances of one in a thousand, that a random `share` of the rows has, of a column with
    `distinct` values in `rows`.

    Of pairs of equal values the share's square is left whole: exact on average where no value stands in more than two
    rows, and otherwise somewhat too many.
    """
    repeats = share * share * max(rows - distinct, 0.0)  # both are estimated: rows may be fewer by a rounding
    return share * rows - max(repeats - 3.0 * math.sqrt(repeats * (1.0 - share * share)), 0.0)
