"""What discovery finds in drawn logs whose truth is known: one row of figures per log. To run it:

    python tests/benchmarks/discovery_logs.py LOGS RESULT.json

writes the logs into the folder LOGS, unless they are there already, and the figures into RESULT.json.
"""

import json
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from widedeep.discovery.discover import Discovery, discover
from widedeep.discovery.fields import TrainRows, cross_column, read_train_rows
from widedeep.discovery.proof import Prover
from widedeep.discovery.screen import Candidate
from widedeep.discovery.search import Search
from widedeep.evaluation.comparison import loss_fall, row_losses
from widedeep.memory.columns import CodeColumn, Column
from widedeep.pipeline.stages import ingest
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter
from widedeep.table.synth import write_criteo_log
from widedeep.table.synth_criteo import Planting

PLANTED = {f"criteo-{seed}": (1_000_000, seed, Planting()) for seed in range(1, 10)}
TRIPLES = {f"triples-{seed}": (1_000_000, seed, Planting(triples=2)) for seed in (11, 12, 13)}
NULL = {f"null-{seed}": (100_000, seed, Planting(crosses=0, low_rank=0)) for seed in range(101, 141)}
COVER = {f"cover-{seed}": (1_100_000, seed, Planting()) for seed in range(201, 221)}
COVER_TRAIN = 100_000
"""Rows that discovery sees of the logs of COVER; the others are fresh."""


def recipe_of(logs: Path, name: str, drawn: tuple[int, int, Planting]) -> LoadedRecipe:
    """The recipe beside a log, which is drawn where it is missing."""
    path = logs / name / "recipe.yaml"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_criteo_log(path.parent, *drawn, Reporter())
    return load_recipe(path)


def discovered(logs: Path, name: str, drawn: tuple[int, int, Planting]) -> dict[str, Any]:
    """The figures of one log."""
    loaded = recipe_of(logs, name, drawn)
    typed = ingest(loaded, logs / "work", Reporter()).path
    started = time.monotonic()
    found: Discovery = discover(loaded.recipe, typed, budget=None, fdr=0.05, reporter=Reporter())
    truth = json.loads((logs / name / "truth.json").read_text())
    true = {frozenset(fields) for kind in ("crosses", "low_rank", "triples") for fields in truth[kind]}
    kept = [frozenset(cross.score.candidate.fields) for cross in found.kept]
    others = [fields for fields in kept if not any(fields <= one for one in true)]
    parts = [fields for fields in kept if fields not in true and fields not in others]
    ranks = [place for place, fields in enumerate(kept) if fields in others]
    return {
        "log": name,
        "true": len(true),
        "found": len(true & set(kept)),
        "parts of triples": len(parts),
        "others": len(others),
        "all true before others": all(true & set(kept) <= set(kept[:place]) for place in ranks),
        "gain": found.loss.interval,
        "seconds": round(time.monotonic() - started, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def covered(logs: Path, name: str, drawn: tuple[int, int, Planting]) -> dict[str, Any]:
    """The promise of the first rows of a log, and the change of the very same models on its fresh rows."""
    recipe_of(logs, name, drawn)
    text = (logs / name / "recipe.yaml").read_text()
    whole = logs / name / "whole.yaml"
    whole.write_text(text.split("  split:")[0] + text[text.index("\nfeatures:") :])
    loaded = load_recipe(whole)
    every = read_train_rows(loaded.recipe, ingest(loaded, logs / "work", Reporter()).path)
    seen = _taken(every, np.arange(COVER_TRAIN))
    chosen = Search(seen, None, np.inf, Reporter()).run().chosen
    proof = Prover(seen, None).prove(chosen, 0.05, Reporter())
    assert proof.before is not None
    assert proof.after is not None
    fresh = _taken(every, np.arange(COVER_TRAIN, every.num_rows))
    columns: list[Column] = [field.column() for field in fresh.fields]
    for cross, column in zip(proof.kept, proof.columns[len(columns) :], strict=True):
        columns.append(_recoded(column, cross.score.candidate, every))
    label = fresh.target.label.astype(np.float64)
    losses = [
        row_losses("binary", label, model.logit(columns, fresh.num_rows).astype(np.float64))
        for model in (proof.before, proof.after)
    ]
    value, low, high = proof.loss.interval
    realised = loss_fall(*losses)
    return {
        "log": name,
        "crosses": len(proof.kept),
        "promised": (value, low, high),
        "realised": realised.interval,
        "covered": low <= realised.value <= high,
    }


def _recoded(seen: Column, candidate: Candidate, every: TrainRows) -> Column:
    """The cross of the fresh rows in the codes that it has in the seen ones, -1 for combinations without one."""
    assert isinstance(seen, CodeColumn)
    column = cross_column(candidate.members(every.by_name))
    assert isinstance(column, CodeColumn)
    (codes,), (seen_codes,) = column.chunks, seen.chunks
    known = np.full(column.size + 1, -1, dtype=np.int32)
    known[codes[:COVER_TRAIN]] = seen_codes
    known[-1] = -1
    return CodeColumn([known[codes[COVER_TRAIN:]]], seen.size)


def _taken(data: TrainRows, rows: np.ndarray) -> TrainRows:
    target = data.target.taken(rows)
    fields = tuple(field.taken(rows) for field in data.fields)
    return replace(data, fields=fields, target=target, proof=data.proof[rows], train_rows=len(rows))


def main(logs: Path, result: Path) -> None:
    """Run all logs and keep what is done."""
    rows: list[dict[str, Any]] = json.loads(result.read_text()) if result.exists() else []
    done = {row["log"] for row in rows}
    for name, drawn in {**PLANTED, **TRIPLES, **COVER, **NULL}.items():
        if name not in done:
            rows.append((covered if name in COVER else discovered)(logs, name, drawn))
            print(json.dumps(rows[-1]), flush=True)
            result.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
