"""Crosses at real click rates, on drawn logs with heavy values. To run it:

    python tests/benchmarks/click_rates.py LOGS RESULT.json [harmless] [pays] [planted] [null] [cover] [--only I/N] [--keep]

draws each log in the folder LOGS, writes its figures into RESULT.json, and removes it. Two processes share the work with
--only 0/2 and --only 1/2 and a result file each. The parts:

harmless  Logs of main effects only: each model with and without three crosses of random fields, which can only hurt.
pays      Logs with planted crosses: each model with and without them.
planted   Discovery: how many planted combinations are found, of those that could be seen (visible.py says which).
null      Discovery on logs of main effects only: what is found is false.
cover     Whether the promised 95% interval covers the gain on a million fresh rows.
"""

import itertools
import json
import random
from collections.abc import Sequence
from typing import Any

from discovery_logs import covered, discovered
from drawn_logs import NOTHING, Drawing, Place, measure_all
from visible import visibilities

from widedeep.pipeline.experiment import train
from widedeep.reporting import Reporter
from widedeep.synth.criteo import CARDINALITIES, NUMERIC, CriteoWorld

LIFT = 50.0
METRICS = ("log_loss", "auc", "calibration")
SMALL = (
    "training.epochs=5",
    "training.batch_size=1024",
    "training.deep.learning_rate=0.001",
    "model.embeddings.dim=8",
    "model.deep.hidden=[64, 32]",
)
"""Where the best epoch is not the last: a model that is far from its end differs from its like by chance."""
NUM_CROSSES = 3

HARMLESS = {
    f"harmless-{rate}-{seed}": Drawing(200_000, seed, NOTHING, rate=rate, lift=8.0 if rate == 0.3 else LIFT)
    for rate in (0.3, 0.05, 0.01, 0.002)
    for seed in range(301, 306)
}
PAYS = {
    f"pays-{rate}-{seed}": Drawing(rows, seed, rate=rate, lift=8.0 if rate == 0.3 else LIFT)
    for rate, rows in ((0.3, 200_000), (0.05, 500_000), (0.01, 500_000), (0.002, 1_000_000))
    for seed in (701,)
}
PLANTED = {
    f"planted-{rate}-{seed}": Drawing(rows, seed, rate=rate, lift=LIFT)
    for rate, rows in ((0.05, 1_000_000), (0.01, 1_000_000), (0.002, 2_000_000))
    for seed in (1, 2, 3)
}
NULL = {
    f"null-{rate}-{seed}": Drawing(100_000, seed, NOTHING, rate=rate, lift=LIFT)
    for rate in (0.01, 0.05)
    for seed in range(401, 421)
}
COVER_TRAIN = 200_000
COVER = {f"cover-0.05-{seed}": Drawing(COVER_TRAIN + 1_000_000, seed, rate=0.05, lift=LIFT) for seed in range(501, 541)}


def harmless(place: Place) -> dict[str, Any]:
    """Test metrics of `wide` and `wide_deep` without and with random crosses, and the ratio of their log losses."""
    pairs = list(itertools.combinations([*NUMERIC, *CARDINALITIES], 2))
    return _with_and_without(place, random.Random(place.name).sample(pairs, NUM_CROSSES))


def pays(place: Place) -> dict[str, Any]:
    """The same with the planted crosses."""
    drawing = place.drawing
    return _with_and_without(
        place, CriteoWorld(drawing.seed, drawing.planting, rate=drawing.rate, lift=drawing.lift).crosses
    )


def _with_and_without(place: Place, crosses: Sequence[Sequence[str]]) -> dict[str, Any]:
    figures: dict[str, Any] = {**_drawn(place), "crosses": crosses}
    for kind in ("wide", "wide_deep"):
        without, crossed = (
            _tested(place, f"model.kind={kind}", f"crosses={json.dumps(listed)}") for listed in ([], crosses)
        )
        ratio = crossed["log_loss"] / without["log_loss"]
        figures[kind] = {"without": without, "with": crossed, "ratio": round(ratio, 5)}
    return figures


def planted(place: Place) -> dict[str, Any]:
    """What discovery finds, and what there was to see."""
    figures = discovered(place)
    drawing = place.drawing
    world = CriteoWorld(drawing.seed, drawing.planting, rate=drawing.rate, lift=drawing.lift)
    found = [set(fields) for fields in figures["found pairs"]]
    pairs = [
        {
            "columns": one.columns,
            "cells": one.cells,
            "thousandths": round(1000 * one.gain, 3),
            "z": round(one.z, 2),
            "visible": one.visible,
            "found": set(one.columns) in found,
        }
        for one in visibilities(world, drawing.rows)
    ]
    seen = {
        "visible": sum(pair["visible"] for pair in pairs),
        "visible and found": sum(pair["visible"] and pair["found"] for pair in pairs),
    }
    return {**_drawn(place), **figures, **seen, "pairs": pairs}


def null(place: Place) -> dict[str, Any]:
    """What discovery finds where there is nothing."""
    return {**_drawn(place), **discovered(place)}


def cover(place: Place) -> dict[str, Any]:
    """Promise and truth."""
    return {**_drawn(place), **covered(place, COVER_TRAIN)}


def _drawn(place: Place) -> dict[str, Any]:
    drawing = place.drawing
    return {"rate": drawing.rate, "lift": drawing.lift, "rows": drawing.rows}


def _tested(place: Place, *overrides: str) -> dict[str, Any]:
    metrics = train(place.recipe(*SMALL, *overrides), place.work, Reporter()).metrics["test"]
    return {name: metrics[name] for name in METRICS}


PARTS = {
    "harmless": (harmless, HARMLESS),
    "pays": (pays, PAYS),
    "planted": (planted, PLANTED),
    "null": (null, NULL),
    "cover": (cover, COVER),
}

if __name__ == "__main__":
    assert __doc__ is not None
    measure_all(__doc__, PARTS)
