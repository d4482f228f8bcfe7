"""Which planted combinations of a drawn log discovery could see at all, told from the log's true probabilities.

A combination is visible where its expected gain on the rows of the proof is at least LEAST_Z of that gain's standard
error. The gain is that of a learner who knows everything but the combination's values, and who estimates these from the
rows of the choice:

- What is there to gain is the term's interaction r: what is left of the planted term after the best sum of effects of its
  columns, weighted by p (1 - p) of the true probabilities p, since main effects take that part.
- A cell with the information I = sum of p (1 - p) over its rows of the choice gives an estimate of r with an error of
  deviation 1 / sqrt(I). The learner shrinks it by s = I V / (1 + I V), where V is the mean of r^2: the best linear rule.
- Gain and error follow row by row from p, from q0 (the true logit less r) and from q1 (that plus the shrunk estimate):
  in expectation over the label, and over the estimate's error by the two points ± 1 / sqrt(I).

Cells with enough rows cost half a nat each by this; those with few rows cost, and gain, next to nothing. The true
main effects and the other combinations are taken as known, so that this errs on the side of calling a pair visible.
LEAST_Z is about what the first of some 40 chosen crosses needs at a false discovery rate of 5%.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from widedeep.discovery.fields import PROOF_SHARE
from widedeep.synth.criteo import Columns, CriteoWorld
from widedeep.synth.draws import sigmoid

LEAST_Z = 3.0
TRAIN_SHARE = 0.8
"""Of a log's rows, by the recipe beside it."""
_BLOCK_ROWS = 100_000
_SWEEPS = 30

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Visibility:
    """What a planted combination promises a learner."""

    columns: Columns
    cells: int
    """Combinations of values in the log."""
    gain: float
    """Expected fall of the log loss per row of the proof."""
    z: float
    """The same in its standard errors."""

    @property
    def visible(self) -> bool:
        """Whether the gain stands out of chance."""
        return self.z >= LEAST_Z


def visibilities(world: CriteoWorld, rows: int) -> list[Visibility]:
    """Of each planted combination of a log of so many rows."""
    codes: dict[str, list[NDArray[np.int64]]] = {}
    logits: list[Numbers] = []
    terms: dict[Columns, list[Numbers]] = {}
    for start in range(0, rows, _BLOCK_ROWS):
        drawn = world.draw(np.arange(start, min(start + _BLOCK_ROWS, rows), dtype=np.uint64))
        logits.append(world.logit(drawn))
        for columns, term in world.planted_terms(drawn):
            terms.setdefault(columns, []).append(term)
            for name in columns:
                if len(codes.setdefault(name, [])) < len(logits):
                    codes[name].append(drawn.codes[name])
    logit = np.concatenate(logits)
    return [
        visibility(columns, [np.concatenate(codes[name]) for name in columns], np.concatenate(parts), logit)
        for columns, parts in terms.items()
    ]


def visibility(columns: Columns, codes: list[NDArray[np.int64]], term: Numbers, logit: Numbers) -> Visibility:
    """`codes` of each column, `term` and the true `logit`: [N] each, of all rows of the log."""
    numbers = np.zeros(len(logit), dtype=np.int64)
    for one in codes:
        numbers = numbers * (int(one.max()) + 1) + one
    _, first, cell = np.unique(numbers, return_index=True, return_inverse=True)
    p = sigmoid(logit)
    weight = np.bincount(cell, p * (1.0 - p))
    rest = interaction([one[first] for one in codes], term[first], weight)
    information = weight * TRAIN_SHARE * (1.0 - PROOF_SHARE)
    signal = information * float((weight * rest**2).sum() / weight.sum())
    shrunk, error = signal / (1.0 + signal), 1.0 / np.sqrt(information)
    mean = square = 0.0
    for sign in (-1.0, 1.0):
        before = logit - rest[cell]
        after = before + (shrunk * (rest + sign * error))[cell]
        if_positive = np.logaddexp(0.0, -before) - np.logaddexp(0.0, -after)
        if_negative = np.logaddexp(0.0, before) - np.logaddexp(0.0, after)
        mean += float((p * if_positive + (1.0 - p) * if_negative).mean()) / 2
        square += float((p * if_positive**2 + (1.0 - p) * if_negative**2).mean()) / 2
    deviation = np.sqrt((square - mean**2) / (len(logit) * TRAIN_SHARE * PROOF_SHARE))
    return Visibility(columns, len(first), mean, mean / float(deviation) if deviation > 0 else 0.0)


def interaction(codes: list[NDArray[np.int64]], term: Numbers, weight: Numbers) -> Numbers:
    """What is left of `term` [cells] after the best sum of effects of its columns, in the sense of weighted squares."""
    rest = term - np.average(term, weights=weight)
    for _ in range(_SWEEPS):
        for one in codes:
            total = np.bincount(one, weight)
            rest = rest - (np.bincount(one, weight * rest) / np.where(total > 0.0, total, 1.0))[one]
    return rest
