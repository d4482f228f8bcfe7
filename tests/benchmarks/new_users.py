"""What the field `user` is worth where most users of the test rows are new, on drawn logs. To run it:

    python tests/benchmarks/new_users.py LOGS RESULT.json [PART] [--only I/N] [--keep]

draws each log in the folder LOGS, writes its figures into RESULT.json, and removes it. A part is a share of new users.
Each model is trained by the recipe beside the log, without its crosses, with the field and without it.
"""

import json
from typing import Any

from drawn_logs import Drawing, Place, measure_all

from widedeep.pipeline.experiment import train
from widedeep.pipeline.ingest_stage import ingest
from widedeep.reporting import Reporter
from widedeep.synth.world import CLICK_RATE
from widedeep.table.parts import read_typed

METRICS = ("log_loss", "auc", "calibration")
SHARES = (0.3, 0.6, 0.9)
LOGS = {
    share: {
        f"new-users-{share}-{seed}": Drawing(200_000, seed, rate=CLICK_RATE, new_users=share)
        for seed in (601, 602, 603)
    }
    for share in SHARES
}


def measured(place: Place) -> dict[str, Any]:
    """The share of test rows whose user no train row has; test metrics of `wide` and `wide_deep` with and without `user`."""
    loaded = place.recipe()
    typed = ingest(loaded, place.work, Reporter()).path
    train_users, test_users = (read_typed(typed, split, ["user"])["user"] for split in ("train", "test"))
    known = test_users.cast(str).is_in(train_users.cast(str).unique().implode())
    figures: dict[str, Any] = {"asked": place.drawing.new_users, "new": round(1.0 - known.mean(), 4)}
    others = [
        json.loads(field.model_dump_json(exclude_defaults=True))
        for field in loaded.recipe.features.categorical
        if field.column != "user"
    ]
    for kind in ("wide", "wide_deep"):
        overrides = {"with": [], "without": [f"features.categorical={json.dumps(others)}"]}
        figures[kind] = {name: _tested(place, f"model.kind={kind}", *more) for name, more in overrides.items()}
    return figures


def _tested(place: Place, *overrides: str) -> dict[str, Any]:
    metrics = train(place.recipe("crosses=[]", *overrides), place.work, Reporter()).metrics["test"]
    return {name: metrics[name] for name in METRICS}


PARTS = {str(share): (measured, drawings) for share, drawings in LOGS.items()}

if __name__ == "__main__":
    assert __doc__ is not None
    measure_all(__doc__, PARTS)
