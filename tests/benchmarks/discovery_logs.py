"""What discovery finds in drawn logs whose truth is known: one row of figures per log. To run it:

    python tests/benchmarks/discovery_logs.py LOGS RESULT.json [planted] [triples] [cover] [null] [--only I/N] [--keep]

draws each log in the folder LOGS, unless it is there already, writes its figures into RESULT.json, and removes it.
"""

import resource
import time
from dataclasses import replace
from typing import Any

import numpy as np
from drawn_logs import NOTHING, Drawing, Place, measure_all

from widedeep.discovery.discover import Discovery, discover
from widedeep.discovery.fields import TrainRows, cross_column, read_train_rows
from widedeep.discovery.proof import Prover
from widedeep.discovery.screen import Candidate
from widedeep.discovery.search import Search
from widedeep.evaluation.comparison import loss_fall, row_losses
from widedeep.memory.columns import CodeColumn, Column
from widedeep.pipeline.ingest_stage import ingest
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.synth.criteo import Planting

PLANTED = {f"criteo-{seed}": Drawing(1_000_000, seed) for seed in range(1, 10)}
TRIPLES = {f"triples-{seed}": Drawing(1_000_000, seed, Planting(triples=2)) for seed in (11, 12, 13)}
NULL = {f"null-{seed}": Drawing(100_000, seed, NOTHING) for seed in range(101, 141)}
COVER_TRAIN = 100_000
"""Rows that discovery sees of the logs of COVER; the others are fresh."""
COVER = {f"cover-{seed}": Drawing(COVER_TRAIN + 1_000_000, seed) for seed in range(201, 221)}


def discovered(place: Place) -> dict[str, Any]:
    """The figures of one log."""
    loaded = place.recipe()
    typed = ingest(loaded, place.work, Reporter()).path
    started = time.monotonic()
    found: Discovery = discover(loaded.recipe, typed, budget=None, fdr=0.05, reporter=Reporter())
    true = {frozenset(fields) for kind in ("crosses", "low_rank", "triples") for fields in place.truth[kind]}
    kept = [frozenset(cross.score.candidate.fields) for cross in found.kept]
    others = [fields for fields in kept if not any(fields <= one for one in true)]
    parts = [fields for fields in kept if fields not in true and fields not in others]
    ranks = [place for place, fields in enumerate(kept) if fields in others]
    return {
        "true": len(true),
        "found": len(true & set(kept)),
        "parts of triples": len(parts),
        "others": len(others),
        "all true before others": all(true & set(kept) <= set(kept[:place]) for place in ranks),
        "gain": found.loss.interval,
        "found pairs": [sorted(fields) for fields in kept],
        "seconds": round(time.monotonic() - started, 1),
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def covered(place: Place, train_rows: int = COVER_TRAIN) -> dict[str, Any]:
    """The promise of the first `train_rows` of a log, and the change of the very same models on its fresh rows."""
    place.recipe()
    text = (place.folder / "recipe.yaml").read_text()
    whole = place.folder / "whole.yaml"
    whole.write_text(text.split("  split:")[0] + text[text.index("\nfeatures:") :])
    loaded = load_recipe(whole)
    every = read_train_rows(loaded.recipe, ingest(loaded, place.work, Reporter()).path)
    seen = _taken(every, np.arange(train_rows))
    chosen = Search(seen, None, np.inf, Reporter()).run().chosen
    proof = Prover(seen, None).prove(chosen, 0.05, Reporter())
    if proof.before is None or proof.after is None:
        return {"crosses": 0}
    fresh = _taken(every, np.arange(train_rows, every.num_rows))
    columns: list[Column] = [field.column() for field in fresh.fields]
    for cross, column in zip(proof.kept, proof.columns[len(columns) :], strict=True):
        columns.append(_recoded(column, cross.score.candidate, every, seen.proof))
    label = fresh.target.label.astype(np.float64)
    losses = [
        row_losses("binary", label, model.logit(columns, fresh.num_rows).astype(np.float64))
        for model in (proof.before, proof.after)
    ]
    value, low, high = proof.loss.interval
    realised = loss_fall(*losses)
    return {
        "crosses": len(proof.kept),
        "promised": (value, low, high),
        "realised": realised.interval,
        "covered": low <= realised.value <= high,
    }


def _recoded(seen: Column, candidate: Candidate, every: TrainRows, proof: np.ndarray) -> Column:
    """The cross of the fresh rows in the codes that it has in the seen ones, -1 for combinations without one.

    `proof` are the seen rows' parts: the chunks of `seen` are of the choice, and of the proof.
    """
    assert isinstance(seen, CodeColumn)
    column = cross_column(candidate.members(every.by_name))
    assert isinstance(column, CodeColumn)
    (codes,) = column.chunks
    known = np.full(column.size + 1, -1, dtype=np.int32)
    known[codes[np.argsort(proof, kind="stable")]] = np.concatenate(seen.chunks)
    known[-1] = -1
    return CodeColumn([known[codes[len(proof) :]]], seen.size)


def _taken(data: TrainRows, rows: np.ndarray) -> TrainRows:
    target = data.target.gather(rows)
    fields = tuple(field.gather(rows) for field in data.fields)
    return replace(data, fields=fields, target=target, proof=data.proof[rows], train_rows=len(rows))


PARTS = {
    "planted": (discovered, PLANTED),
    "triples": (discovered, TRIPLES),
    "cover": (covered, COVER),
    "null": (discovered, NULL),
}

if __name__ == "__main__":
    assert __doc__ is not None
    measure_all(__doc__, PARTS)
