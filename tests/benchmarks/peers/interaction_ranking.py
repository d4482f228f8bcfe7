"""Ranks pairs of columns by interpret-core or by CatBoost, on the train rows of a drawn log. To run it:

    python tests/benchmarks/peers/interaction_ranking.py {interpret|catboost} LOG.parquet TRUTH.json ROWS

prints a JSON object: seconds of each step, on the clock and of the processor, and how many of the planted pairs are
among as many of the first. It needs interpret-core, catboost and polars.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

TREES = 300
"""Trees of CatBoost; its default is 1000."""


def timed(steps: dict[str, list[float]], name: str, call: Callable[[], Any]) -> Any:
    """The result of a call; [seconds on the clock, seconds of the processor] go into `steps`."""
    clock, processor = time.monotonic(), time.process_time()
    result = call()
    steps[name] = [round(time.monotonic() - clock, 1), round(time.process_time() - processor, 1)]
    return result


def interpret(rows: Any, label: np.ndarray, texts: list[str], steps: dict[str, list[float]]) -> list[frozenset[str]]:
    """All pairs, best first, on top of an additive model (one bag, else by default)."""
    from interpret.glassbox import ExplainableBoostingClassifier
    from interpret.utils import measure_interactions

    kinds = ["nominal" if name in texts else "continuous" for name in rows.columns]
    additive = ExplainableBoostingClassifier(interactions=0, outer_bags=1, n_jobs=1, feature_types=kinds)
    timed(steps, "additive model", lambda: additive.fit(rows, label))
    logit = timed(steps, "its logits", lambda: additive.decision_function(rows))
    pairs = len(kinds) * (len(kinds) - 1) // 2
    ranked = timed(
        steps,
        "measure_interactions",
        lambda: measure_interactions(rows, label, interactions=pairs, init_score=logit, feature_types=kinds),
    )
    return [frozenset(rows.columns[place] for place in pair) for pair, _ in ranked]


def catboost(rows: Any, label: np.ndarray, texts: list[str], steps: dict[str, list[float]]) -> list[frozenset[str]]:
    """The pairs that a model's trees split on together, best first."""
    from catboost import CatBoostClassifier

    model = CatBoostClassifier(
        iterations=TREES, cat_features=texts, thread_count=2, verbose=False, allow_writing_files=False
    )
    timed(steps, "model", lambda: model.fit(rows, label))
    ranked = timed(steps, "ranking", lambda: model.get_feature_importance(type="Interaction"))
    return [frozenset(rows.columns[int(place)] for place in pair[:2]) for pair in ranked]


def main(tool: str, log: Path, truth: Path, count: int) -> None:
    """Print the object."""
    frame = pl.read_parquet(log).head(count)
    texts = [name for name in frame.columns if name.startswith("C")]
    numbers = [name for name in frame.columns if name.startswith("I")]
    rows = frame.select(
        *(pl.col(name).cast(pl.Float64) for name in numbers), *(pl.col(name).fill_null("") for name in texts)
    ).to_pandas()
    known = json.loads(truth.read_text())
    planted = {frozenset(pair) for kind in ("crosses", "low_rank") for pair in known[kind]}
    steps: dict[str, list[float]] = {}
    ranked = {"interpret": interpret, "catboost": catboost}[tool](rows, frame["label"].to_numpy(), texts, steps)
    found = len(planted & set(ranked[: len(planted)]))
    print(
        json.dumps(
            {"tool": tool, "log": log.parent.name, "rows": len(rows), "steps": steps}
            | {"planted": len(planted), "among the first": found}
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
