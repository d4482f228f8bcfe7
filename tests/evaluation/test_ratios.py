"""NE, calibration, MAE and R² with their errors; figures by value of a column."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from widedeep.evaluation.by_value import figures_by_value
from widedeep.evaluation.comparison import LabelledRows, estimates
from widedeep.evaluation.metrics import MetricAccumulator
from widedeep.evaluation.ratios import ratio_estimates
from widedeep.evaluation.slices import SliceColumn

ROWS = 600


def drawn(kind: Any, grouped: bool) -> dict[str, NDArray[Any]]:
    draw = np.random.default_rng(7)
    group = (draw.integers(0, 60, ROWS) if grouped else np.arange(ROWS)).astype(np.uint64)
    common = draw.normal(size=ROWS)[group.astype(int) % ROWS]
    if kind == "binary":
        score = 1 / (1 + np.exp(1.5 - common))
        label = draw.random(ROWS) < score
    else:
        score, label = common, common + draw.normal(size=ROWS)
    weight = draw.exponential(size=ROWS)
    columns = {"label": label, "score": score, "weight": weight}
    return {name: values.astype(np.float32) for name, values in columns.items()} | {"group": group}


def figures(kind: Any, data: dict[str, NDArray[Any]]) -> dict[str, float]:
    with MetricAccumulator(kind) as metrics:
        metrics.add(data["label"], data["score"], data["weight"])
        return {name: value for name, value in metrics.result().items() if value is not None}


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_the_error_is_that_of_leaving_out_one_unit_after_the_other(kind: Any, grouped: bool) -> None:
    data = drawn(kind, grouped)
    rows = LabelledRows.of(kind, data["label"], data["weight"], data["group"] if grouped else None)
    found = ratio_estimates(rows, data["score"])
    assert set(found) == ({"normalized_entropy", "calibration"} if kind == "binary" else {"mae", "r2"})
    whole = figures(kind, data)
    units = np.unique(data["group"])
    without = [figures(kind, {name: v[data["group"] != unit] for name, v in data.items()}) for unit in units]
    for name, estimate in found.items():
        assert estimate.value == pytest.approx(whole[name], rel=1e-6)
        left_out = np.array([one[name] for one in without])
        jackknife = np.sqrt((len(units) - 1) / len(units) * np.square(left_out - left_out.mean()).sum())
        assert estimate.change().error == pytest.approx(jackknife, rel=0.06)


def test_what_is_undefined_is_left_out() -> None:
    rows = LabelledRows.of("binary", np.zeros(100, dtype=np.float32))
    assert ratio_estimates(rows, np.full(100, 0.1, dtype=np.float32)) == {}


def test_the_figures_of_a_value_are_those_of_its_rows_alone() -> None:
    data = drawn("binary", grouped=False)
    code = np.where(np.arange(ROWS) < 10, 2, np.arange(ROWS) % 2).astype(np.int64)
    rows = LabelledRows.of("binary", data["label"], data["weight"])
    first, second, few = figures_by_value(rows, SliceColumn("shape", code, ["round", None, "rare"]), data["score"])
    assert (few.value, few.rows, few.metrics) == ("rare", 10, {})
    assert {first.value, second.value} == {"round", None}
    kept = code == (0 if first.value == "round" else 1)
    alone = LabelledRows.of("binary", data["label"][kept], data["weight"][kept])
    assert first.rows == kept.sum()
    assert first.mean_label == pytest.approx(np.average(alone.label, weights=alone.weight))
    expected = estimates(alone, data["score"][kept]) | ratio_estimates(alone, data["score"][kept])
    assert first.metrics == {name: one.change() for name, one in expected.items()}
