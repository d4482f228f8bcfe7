"""What is drawn of scored rows, against scikit-learn and the formulas read literally."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from widedeep.evaluation.comparison import LabelledRows
from widedeep.evaluation.curves import (
    CALIBRATION_BINS,
    CURVE_POINTS,
    calibration_bins,
    error_histogram,
    roc_and_precision,
    score_histogram,
)


def scored(rows: int, *, ties: bool, weighted: bool) -> tuple[LabelledRows, NDArray[np.float32]]:
    draw = np.random.default_rng(rows + ties)
    score = draw.beta(1.5, 4.0, rows).astype(np.float32)
    if ties:
        score = (np.round(score * 20) / 20).astype(np.float32)
    label = (draw.random(rows) < score).astype(np.float32)
    weight = draw.exponential(1.0, rows).astype(np.float32) if weighted else None
    return LabelledRows.of("binary", label, weight), score


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ties", [False, True])
def test_thinned_curves_have_the_areas_of_the_whole_ones(ties: bool, weighted: bool) -> None:
    rows, score = scored(50_000, ties=ties, weighted=weighted)
    curves = roc_and_precision(rows, score)
    assert curves is not None
    roc, precision = curves
    exact = roc_auc_score(rows.label, score, sample_weight=rows.weight)
    assert auc(roc.x, roc.y) == pytest.approx(exact, abs=2e-5)
    average = average_precision_score(rows.label, score, sample_weight=rows.weight)
    assert float((np.diff(precision.x) * precision.y[1:]).sum()) == pytest.approx(average, abs=2e-3)
    for curve in curves:
        assert len(curve.x) <= CURVE_POINTS + 2
        assert (np.diff(curve.x) >= 0).all()
        assert (curve.x[0], curve.x[-1]) == (0.0, 1.0)


def test_a_roc_of_few_rows_has_every_threshold() -> None:
    rows = LabelledRows.of("binary", np.array([0, 1, 0, 1, 1], dtype=np.float32))
    curves = roc_and_precision(rows, np.array([0.1, 0.4, 0.4, 0.8, 0.3], dtype=np.float32))
    assert curves is not None
    roc, precision = curves
    assert roc.x == pytest.approx([0, 0, 0.5, 0.5, 1])
    assert roc.y == pytest.approx([0, 1 / 3, 2 / 3, 1, 1])
    assert precision.y == pytest.approx([1, 1, 2 / 3, 3 / 4, 3 / 5])


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_alone_has_no_curves(label: float) -> None:
    rows = LabelledRows.of("binary", np.full(10, label, dtype=np.float32))
    assert roc_and_precision(rows, np.linspace(0.1, 0.9, 10, dtype=np.float32)) is None


def test_calibration_bins_hold_equal_weight_and_all_rows() -> None:
    rows, score = scored(30_000, ties=False, weighted=False)
    bins = calibration_bins(rows, score)
    assert len(bins.predicted) == CALIBRATION_BINS
    assert bins.predicted.mean() == pytest.approx(score.mean(dtype=np.float64), abs=1e-6)
    assert bins.observed.mean() == pytest.approx(rows.label.mean(), abs=1e-6)
    assert (np.diff(bins.predicted) > 0).all()
    share, count, z = float(bins.observed[3]), 30_000 / CALIBRATION_BINS, 1.959964
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    assert bins.high[3] - bins.low[3] == pytest.approx(2 * half, rel=1e-5)


def test_a_score_that_all_rows_share_is_one_bin() -> None:
    rows, _ = scored(100, ties=False, weighted=False)
    bins = calibration_bins(rows, np.full(100, 0.25, dtype=np.float32))
    assert bins.predicted == pytest.approx([0.25])
    assert bins.observed == pytest.approx([rows.label.mean()])


def test_a_rate_of_nothing_has_an_interval_that_is_not_empty() -> None:
    rows = LabelledRows.of("binary", np.zeros(120, dtype=np.float32))
    bins = calibration_bins(rows, np.linspace(0.1, 0.2, 120, dtype=np.float32))
    assert (bins.low == 0.0).all()
    assert (bins.high > 0.1).all()


def test_a_weight_counts_as_so_many_rows_in_calibration() -> None:
    rows, score = scored(500, ties=True, weighted=False)
    weight = np.where(np.arange(500) % 3 == 0, 2.0, 1.0).astype(np.float32)
    repeats = weight.astype(int)
    twice = LabelledRows.of("binary", np.repeat(rows.label, repeats).astype(np.float32))
    weighted = LabelledRows.of("binary", rows.label.astype(np.float32), weight)
    ours, theirs = calibration_bins(weighted, score), calibration_bins(twice, np.repeat(score, repeats))
    assert ours.predicted == pytest.approx(theirs.predicted)
    assert ours.observed == pytest.approx(theirs.observed)


def test_histograms_add_up_to_all_rows_of_a_class_however_extreme() -> None:
    rows, score = scored(5_000, ties=False, weighted=True)
    score[:2] = 0.0, 1.0
    for shares in score_histogram(rows, score).shares.values():
        assert shares.sum() == pytest.approx(1.0)
    numbers = LabelledRows.of("regression", np.random.default_rng(1).normal(size=1_000).astype(np.float32))
    errors = error_histogram(numbers, np.zeros(1_000, dtype=np.float32))
    assert errors.shares["error"].sum() == pytest.approx(1.0)
    assert (np.diff(errors.edges) > 0).all()
