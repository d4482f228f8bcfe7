"""How often `eval --against` tells two equal models apart, and how often it finds a loss of 0.005 AUC. To run it:

    python tests/benchmarks/against_coverage.py > tests/benchmarks/results/comparison.md

Labels are drawn twenty times for 250,000 rows of known probabilities. Two copies of the true logit get noise of one
size; then one of them gets so much more that its AUC is 0.005 lower in expectation.
"""

import sys
import time

import numpy as np
from numpy.typing import NDArray

from widedeep.evaluation.comparison import Change, LabelledRows, estimates
from widedeep.evaluation.verdict import better, verdict

ROWS, DRAWS, NOISE, COST, LEAST = 250_000, 20, 0.5, 0.005, 17
Numbers = NDArray[np.float64]


def expected_auc(logit: Numbers, score: Numbers) -> float:
    """The AUC of the scores over all draws of the labels, ties aside: every row is a positive by its probability."""
    order = np.argsort(score)
    positive = (1 / (1 + np.exp(-logit)))[order]
    below = np.cumsum(1.0 - positive)
    return float((positive * below).sum() / (positive.sum() * (1.0 - positive).sum()))


def costly_noise(logit: Numbers, draw: np.random.Generator) -> float:
    """The size of noise that costs COST more AUC than NOISE does."""
    first, second = draw.normal(0, 1, (2, len(logit)))
    aim = expected_auc(logit, logit + NOISE * first) - COST
    low, high = NOISE, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_auc(logit, logit + middle * second) > aim else (low, middle)
    return (low + high) / 2


def differences(logit: Numbers, noise: Numbers | None, sizes: tuple[float, float], seed: int) -> dict[str, Change]:
    """First copy minus second, on one draw of the labels; `noise` [2, N] is drawn anew where it is None."""
    draw = np.random.default_rng(seed)
    label = (draw.random(len(logit)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    noise = draw.normal(0, 1, (2, len(logit))) if noise is None else noise
    scores = [
        (1 / (1 + np.exp(-logit - size * one))).astype(np.float32) for size, one in zip(sizes, noise, strict=True)
    ]
    rows = LabelledRows.of("binary", label)
    first, second = (estimates(rows, score) for score in scores)
    return {name: first[name].minus(second[name]).change() for name in first}


def main() -> int:
    """Print the table; 1 where it falls short."""
    draw = np.random.default_rng(0)
    logit = draw.normal(-1.0, 1.2, ROWS)
    fixed = draw.normal(0, 1, (2, ROWS))
    more = costly_noise(logit, draw)
    started, met = time.monotonic(), True
    print("# eval --against on models whose difference is known\n")
    print("`python tests/benchmarks/against_coverage.py`\n")
    print(
        f"{DRAWS} draws of the labels of {ROWS:,} rows from known probabilities (logit normal, mean -1, deviation 1.2);"
    )
    print(
        f"the best AUC is {expected_auc(logit, logit):.4f}. Scores are the true logit with normal noise of deviation {NOISE},"
    )
    print(
        f"or {more:.3f}, which costs {COST} AUC. An interval of 95% finds no difference in 19 of 20 draws on average.\n"
    )
    print(
        "| noise | the copies | verdict looked for | in AUC | in log loss | mean AUC difference | its error | as told |"
    )
    print("|---|---|---|---|---|---|---|---|")
    cases = {"equally noisy": ((NOISE, NOISE), None), "the second 0.005 AUC worse": ((NOISE, more), "first")}
    for how, noise in {"anew for each draw": None, "drawn once": fixed}.items():
        for title, (sizes, right) in cases.items():
            found = [differences(logit, noise, sizes, seed) for seed in range(DRAWS)]
            hits = {name: sum(better(name, one[name]) == right for one in found) for name in ("auc", "log_loss")}
            wanted = "no difference" if right is None else "the first is better"
            values = [one["auc"].value for one in found]
            told = np.mean([one["auc"].error for one in found])
            print(
                f"| {how} | {title} | {wanted} | **{hits['auc']} of {DRAWS}** | {hits['log_loss']} of {DRAWS} "
                f"| {np.mean(values):+.5f} | {np.std(values, ddof=1):.5f} | {told:.5f} |"
            )
            met &= hits["auc"] >= LEAST
    print(
        "\nThe interval holds for rows drawn anew, noise included, as in the first two lines. With noise drawn once only the"
    )
    print(
        "labels vary; the copies then differ a little on these very rows, which is part of what the interval allows for."
    )
    print(f"\nIts words on the last draw: {verdict('auc', found[-1]['auc'], 'RUN', 'RUN2')}.")
    print(f"{(time.monotonic() - started) / (4 * DRAWS):.2f} s a comparison.", file=sys.stderr)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
