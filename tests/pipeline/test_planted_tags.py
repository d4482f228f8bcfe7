"""The paper's production cross, a multi-hot with a one-hot, is learnt: weights of `category x tags` in a sample log."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.features.fields import FIRST
from widedeep.features.plan import FeaturePlan
from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.weights import wide_weights
from widedeep.synth.sample_log import write_sample_log

NAME = "category x tags"
MIN_ROWS = 1000


def learnt_weights(run: Path) -> pl.DataFrame:
    """The wide weights of the cross by index, with the rows that each index has in train."""
    plan = FeaturePlan.load(run / "plan")
    counts = next(cross for cross in plan.crosses if cross.name == NAME).vocabulary["count"]
    weights = wide_weights(RunDirectory(run), plan)[NAME][FIRST:]
    return pl.DataFrame({"learnt": weights, "rows": counts}).with_row_index("i")


def index_of_pairs(run: Path, planted: dict[str, dict[str, float]]) -> pl.DataFrame:
    """Index and planted weight of every combination."""
    plan = FeaturePlan.load(run / "plan")
    pairs = [(left, right, weight) for left, row in planted.items() for right, weight in row.items()]
    typed = pl.DataFrame({"category": [a for a, _, _ in pairs], "tags@values": [[b] for _, b, _ in pairs]})
    numbers = {number.column for number in plan.numerics}
    blank = [name for name in plan.required_columns() if name not in typed.columns]
    typed = typed.with_columns(pl.lit(None, pl.Float64 if name in numbers else pl.String).alias(name) for name in blank)
    indices = plan.encode(typed)[NAME].explode() - FIRST
    return pl.DataFrame({"i": indices.cast(pl.Int64), "planted": [weight for *_, weight in pairs]})


@pytest.mark.parametrize("crosses", ["out_of_fold", "gradient"])
def test_a_cross_of_a_list_with_a_value_learns_the_planted_weights(crosses: str, tmp_path: Path) -> None:
    log = write_sample_log(tmp_path, 400_000, 1, Reporter())
    overrides = ["training.threads=1", f"model.wide.crosses={crosses}"]
    run = train(load_recipe(tmp_path / "recipe.yaml", overrides), tmp_path, Reporter()).run
    planted = json.loads(log.files[1].read_text())["weights"][NAME]
    learnt = learnt_weights(run).with_columns(pl.col("i").cast(pl.Int64))
    both = index_of_pairs(run, planted).join(learnt, on="i").filter(pl.col("rows") >= MIN_ROWS)
    assert len(both) >= 50
    assert np.corrcoef(both["learnt"], both["planted"])[0, 1] >= 0.9
