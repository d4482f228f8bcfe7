"""What a table of results/quality.md says of its runs: figures over seeds, and differences paired by row and seed."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from quality_runs import Runs
from quality_settings import Table

from widedeep.evaluation.comparison import Estimate, LabelledRows, change_over_seeds, estimates
from widedeep.pipeline.past_runs import typed_table
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import score_labelled
from widedeep.scoring.scorer import Scorer
from widedeep.table.parts import typed_blocks

Scores = NDArray[np.float32]
METRICS = ("auc", "log_loss")
PEER = "LightGBM"


class TestRows:
    """The test rows of a table, and what runs say of them."""

    __test__ = False

    def __init__(self, work: Path) -> None:
        self.work = work
        self.rows: LabelledRows | None = None

    def scores(self, path: Path) -> Scores:
        """The run's scores [N]; every run must hold the same rows in the same order. Raises ValueError otherwise."""
        scorer = Scorer.load(path)
        scored = score_labelled(scorer, typed_blocks(typed_dir(path, scorer, self.work), "test"), {})
        rows = scored.rows(scorer)
        if self.rows is None:
            self.rows = rows
        elif not np.array_equal(rows.label, self.rows.label):
            raise ValueError(f"{path}: was measured on other test rows")
        return scored.scores

    def estimates(self, scores: Scores, rows: NDArray[np.bool_] | None = None) -> dict[str, Estimate]:
        """AUC and log loss with their influences, on all rows or on some."""
        held = self.rows
        assert held is not None
        if rows is not None:
            held = LabelledRows.of(held.kind, held.label[rows])
            scores = scores[rows]
        return {name: one for name, one in estimates(held, scores).items() if name in METRICS}


def typed_dir(path: Path, scorer: Scorer, work: Path) -> Path:
    """The typed table of a run."""
    return typed_table(RunDirectory(path), scorer.recipe, work, Reporter(), wait=False)


def measure(table: Table, runs: Runs, peer: dict[str, Any] | None) -> dict[str, Any]:
    """Lines of figures, what crosses added, differences from the peer, and parts of the rows: plain values, for JSON."""
    test = TestRows(runs.work)
    lines, added, against, parts = [], [], [], []
    before: list[dict[str, Estimate]] = []
    seen: NDArray[np.bool_] | None = None
    for variant in runs.variants:
        if variant.name not in runs.results:
            continue
        result = runs.results[variant.name]
        lines.append(_line(variant.kind, variant.crosses, result["runs"]))
        scores = [test.scores(path) for path in runs.paths(variant)]
        ours = [test.estimates(one) for one in scores]
        if variant.crosses:
            added.append({"kind": variant.kind, **_differences(ours, before)})
        if peer is not None:
            theirs = [test.estimates(np.load(path)) for path in peer["test_scores"]]
            against.append({"kind": variant.kind, "crosses": variant.crosses, **_differences(ours, theirs)})
        if table.pair is not None:
            seen = pair_seen(runs, table.pair) if seen is None else seen
            for part, rows in (("seen", seen), ("new", ~seen)):
                told = [test.estimates(one, rows) for one in scores]
                figures = {name: _summary([one[name].value for one in told]) for name in METRICS if name in told[0]}
                parts.append(
                    {"kind": variant.kind, "crosses": variant.crosses, "part": part, "rows": int(rows.sum()), **figures}
                )
        before = ours
    assert test.rows is not None
    if peer is not None:
        lines.append(_line(PEER, False, [_peer_run(test, peer, number) for number in range(len(peer["test_scores"]))]))
    return {
        "rows": len(test.rows.label),
        "grouped": test.rows.group is not None,
        "lines": lines,
        "added": added,
        "against_peer": against,
        "parts": parts,
    }


def pair_seen(runs: Runs, pair: Sequence[str]) -> NDArray[np.bool_]:
    """For each test row, whether a train row has the same values in these columns. [N]"""
    path = next(runs.paths(variant)[0] for variant in runs.variants if variant.name in runs.results)
    folder = typed_dir(path, Scorer.load(path), runs.work)
    train, test = (pl.concat(typed_blocks(folder, split, columns=list(pair))) for split in ("train", "test"))
    known = train.unique().with_columns(seen=True)
    joined = test.join(known, on=list(pair), how="left", nulls_equal=True, maintain_order="left")
    return joined["seen"].fill_null(False).to_numpy()


def _peer_run(test: TestRows, peer: dict[str, Any], number: int) -> dict[str, Any]:
    found = test.estimates(np.load(peer["test_scores"][number]))
    return {
        "metrics": {
            "valid": {"auc": peer["valid_auc"][number]},
            "test": {name: one.value for name, one in found.items()},
        },
        "parameters": peer["leaves"][number],
        "seconds": peer["seconds"][number],
    }


def _line(kind: str, crosses: bool, runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    def of(split: str, name: str) -> dict[str, float]:
        return _summary([run["metrics"][split][name] for run in runs])

    return {
        "kind": kind,
        "crosses": crosses,
        "seeds": len(runs),
        "valid_auc": of("valid", "auc"),
        "test_auc": of("test", "auc"),
        "test_log_loss": of("test", "log_loss"),
        "parameters": round(statistics.fmean(run["parameters"] for run in runs)),
        "seconds": statistics.fmean(run["seconds"] for run in runs),
    }


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": statistics.fmean(values), "deviation": statistics.stdev(values) if len(values) > 1 else 0.0}


def _differences(ours: Sequence[dict[str, Estimate]], theirs: Sequence[dict[str, Estimate]]) -> dict[str, Any]:
    """Metric → ours minus theirs, seed by seed, with the ends of its interval."""
    found = {}
    for name in METRICS:
        change = change_over_seeds([one[name].minus(other[name]) for one, other in zip(ours, theirs, strict=True)])
        found[name] = {"value": change.value, "low": change.low, "high": change.high}
    return found
