"""Metrics against scikit-learn, across chunks, weights, ties and spilling, and where they are undefined."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from widedeep.errors import WriteError
from widedeep.evaluation import DIRECTIONS, TITLES, MetricAccumulator
from widedeep.evaluation.metrics import _BLOCK_ROWS

FLOATS = st.sampled_from([np.float32, np.float64])


def accumulate(kind, label, score, weight=None, *, chunk=10**9, **settings):
    with MetricAccumulator(kind, **settings) as accumulator:
        for start in range(0, len(score), chunk):
            part = slice(start, start + chunk)
            accumulator.add(label[part], score[part], None if weight is None else weight[part])
        return accumulator.result()


def assert_close(result, expected, tolerance=1e-9):
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, rel=tolerance, abs=tolerance), name


def ece_by_hand(label, score, weight):
    bins = np.clip(np.floor(score.astype(np.float64) * 20), 0, 19)
    gaps = 0.0
    for number in range(20):
        here = bins == number
        gaps += abs(math.fsum(weight[here] * score[here].astype(np.float64)) - math.fsum(weight[here] * label[here]))
    return gaps / math.fsum(weight)


def binary_oracle(label, score, weight=None):
    """Every binary metric as scikit-learn defines it, in float64 after clipping at the eps of the scores' dtype."""
    eps = np.finfo(score.dtype).eps
    score = score.astype(np.float64)
    label, weight = label.astype(np.float64), np.ones(len(score)) if weight is None else weight.astype(np.float64)
    rate = np.average(label, weights=weight)
    loss = oracle.log_loss(label, np.clip(score, eps, 1 - eps), sample_weight=weight, labels=[0, 1])
    return {
        "auc": oracle.roc_auc_score(label, score, sample_weight=weight),
        "log_loss": loss,
        "normalized_entropy": loss
        / oracle.log_loss(label, np.full(len(label), rate), sample_weight=weight, labels=[0, 1]),
        "brier": np.average((score - label) ** 2, weights=weight),
        "calibration": np.average(score, weights=weight) / rate,
        "ece": ece_by_hand(label, score, weight),
        "average_precision": oracle.average_precision_score(label, score, sample_weight=weight),
        "accuracy": oracle.accuracy_score(label, score >= 0.5, sample_weight=weight),
        "positives": rate,
        "rows": len(label),
    }


def regression_oracle(label, score, weight=None):
    label, score = label.astype(np.float64), score.astype(np.float64)
    return {
        "rmse": oracle.root_mean_squared_error(label, score, sample_weight=weight),
        "mae": oracle.mean_absolute_error(label, score, sample_weight=weight),
        "r2": oracle.r2_score(label, score, sample_weight=weight),
        "rows": len(label),
    }


@st.composite
def binary_rows(draw):
    """Rows with both classes, many ties on request, weights (zeros too) or none, any float dtype."""
    seed, rows = draw(st.integers(0, 2**32 - 1)), draw(st.integers(2, 300))
    random = np.random.default_rng(seed)
    levels = draw(st.sampled_from([1, 2, 5, 40, 10**9]))
    score = (random.integers(0, levels + 1, rows) / levels).astype(draw(FLOATS))
    label = (random.random(rows) < draw(st.sampled_from([0.05, 0.4, 0.9]))).astype(np.float32)
    label[:2] = [0, 1]
    weight = None
    if draw(st.booleans()):
        weight = np.where(random.random(rows) < 0.2, 0.0, random.lognormal(0, 2, rows)).astype(draw(FLOATS))
        weight[:2] += 1
    return label, score, weight


@settings(max_examples=150)
@given(binary_rows())
def test_binary_metrics_equal_scikit_learn_with_ties_weights_and_extreme_scores(rows):
    assert_close(accumulate("binary", *rows), binary_oracle(*rows))


@settings(max_examples=100)
@given(rows=binary_rows(), max_held_rows=st.integers(1, 60), chunk=st.integers(1, 100))
def test_spilling_and_chunking_leave_every_figure_as_it_is(rows, max_held_rows, chunk):
    in_memory = accumulate("binary", *rows)
    spilled = accumulate("binary", *rows, max_held_rows=max_held_rows, chunk=chunk)
    assert spilled.keys() == in_memory.keys()
    assert_close(spilled, in_memory, 1e-12)
    ranked = {"auc", "average_precision"}
    assert {k: v for k, v in spilled.items() if k not in ranked} == {
        k: v for k, v in in_memory.items() if k not in ranked
    }


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_chunks_do_not_change_a_single_bit_over_several_blocks_of_rows(kind):
    random = np.random.default_rng(5)
    rows = 2 * _BLOCK_ROWS + 777
    score = random.random(rows).round(4)
    label, weight = (random.random(rows) < score).astype(np.float64), random.random(rows)
    whole = accumulate(kind, label, score, weight)
    assert accumulate(kind, label, score, weight, chunk=10_007) == whole
    expected = binary_oracle(label, score, weight) if kind == "binary" else regression_oracle(label, score, weight)
    assert_close(whole, expected)


@settings(max_examples=80)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(2, 300), weighted=st.booleans(), dtype=FLOATS)
def test_regression_metrics_equal_scikit_learn(seed, rows, weighted, dtype):
    random = np.random.default_rng(seed)
    label = random.normal(0, 3, rows).astype(dtype)
    score = (label + random.normal(0, 1, rows)).astype(dtype)
    weight = random.random(rows) + 0.01 if weighted else None
    assert_close(accumulate("regression", label, score, weight, chunk=37), regression_oracle(label, score, weight))


def test_r2_keeps_its_digits_when_labels_lie_far_from_zero():
    random = np.random.default_rng(1)
    label = 1e8 + random.normal(0, 1, 1000)
    score = label + random.normal(0, 0.5, 1000)
    spread = ((label - 1e8) - (label - 1e8).mean()) ** 2
    expected = 1 - ((label - score) ** 2).sum() / spread.sum()
    assert accumulate("regression", label, score, chunk=100)["r2"] == pytest.approx(expected, rel=1e-9)


def test_scores_that_pile_up_on_one_value_are_ranked_in_bounded_memory(tmp_path):
    random = np.random.default_rng(2)
    rows = 200_000
    score = np.where(random.random(rows) < 0.95, 0.25, random.random(rows))
    label = (random.random(rows) < score).astype(np.float32)
    result = accumulate("binary", label, score, max_held_rows=5_000, chunk=3_000, spill_dir=tmp_path)
    assert_close(result, binary_oracle(label, score))


def test_a_constant_score_ranks_like_a_coin():
    label = np.array([0, 1, 1, 0, 1], dtype=np.float32)
    result = accumulate("binary", label, np.full(5, 0.6))
    assert result["auc"] == 0.5
    assert result["average_precision"] == pytest.approx(0.6)
    assert result["calibration"] == pytest.approx(1.0)


def test_float32_scores_are_clipped_at_the_eps_of_float32():
    label = np.array([1, 0], dtype=np.float32)
    single = accumulate("binary", label, np.array([0, 0.5], dtype=np.float32))["log_loss"]
    double = accumulate("binary", label, np.array([0, 0.5], dtype=np.float64))["log_loss"]
    assert single == pytest.approx((-math.log(np.finfo(np.float32).eps) + math.log(2)) / 2)
    assert double == pytest.approx((-math.log(np.finfo(np.float64).eps) + math.log(2)) / 2)


@pytest.mark.parametrize("only", [0.0, 1.0])
def test_figures_that_one_class_leaves_undefined_are_none_and_json_stays_strict(only):
    result = accumulate("binary", np.full(4, only), np.array([0.1, 0.2, 0.3, 0.9]))
    undefined = {name for name, value in result.items() if value is None}
    assert undefined == {"auc", "average_precision", "normalized_entropy"} | ({"calibration"} if only == 0 else set())
    json.dumps(result, allow_nan=False)


def test_a_class_whose_rows_all_weigh_nothing_counts_as_absent():
    label, score = np.array([0.0, 1.0, 1.0]), np.array([0.5, 0.2, 0.7])
    result = accumulate("binary", label, score, np.array([0.0, 1.0, 1.0]))
    assert result["auc"] is None
    assert result["average_precision"] is None


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("rows", [0, 3])
def test_without_weight_everything_but_the_row_count_is_none(kind, rows):
    result = accumulate(kind, np.ones(rows), np.full(rows, 0.5), np.zeros(rows))
    assert result.pop("rows") == rows
    assert set(result.values()) == {None}
    assert MetricAccumulator(kind).result()["rows"] == 0


@pytest.mark.parametrize("label", [0.0, 0.1, -3e9])
def test_r2_of_a_constant_label_is_none(label):
    result = accumulate("regression", np.full(1000, label), np.linspace(0, 1, 1000))
    assert result["r2"] is None
    assert result["rmse"] is not None


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_figure_beyond_float64_is_none_instead_of_infinity():
    result = accumulate("regression", np.array([1e200, -1e200]), np.array([0.0, 0.0]))
    assert result["rmse"] is None
    assert result["mae"] == pytest.approx(1e200)


@pytest.mark.parametrize(
    ("label", "score", "weight", "message"),
    [
        ([0, 1], [0.5, np.nan], None, "score has a value that is not finite, at row 1"),
        ([0, np.inf], [0.5, 0.5], None, "label has a value that is not finite"),
        ([0, 2], [0.5, 0.5], None, "must be 0 or 1"),
        ([0, 1], [0.5, 1.5], None, r"lie in \[0, 1\]"),
        ([0, 1], [0.5, 0.5], [1.0, -1.0], "not be negative"),
        ([0, 1], [0.5], None, "shape"),
    ],
)
def test_values_that_no_caller_may_pass_are_refused(label, score, weight, message):
    accumulator = MetricAccumulator("binary")
    with pytest.raises(ValueError, match=message):
        accumulator.add(np.array(label, float), np.array(score, float), None if weight is None else np.array(weight))


def test_scores_of_two_dtypes_are_refused_because_the_clipping_would_differ():
    accumulator = MetricAccumulator("binary")
    accumulator.add(np.ones(1), np.ones(1, np.float32))
    with pytest.raises(ValueError, match="float32 and are now float64"):
        accumulator.add(np.ones(1), np.ones(1, np.float64))


def test_result_ends_the_accumulation_and_may_be_asked_again():
    accumulator = MetricAccumulator("binary")
    accumulator.add(np.array([0.0, 1.0]), np.array([0.2, 0.8]))
    assert accumulator.result() == accumulator.result()
    with pytest.raises(ValueError, match="new accumulator"):
        accumulator.add(np.array([0.0]), np.array([0.2]))


def test_spill_files_lie_in_the_given_folder_and_go_with_the_accumulator(tmp_path: Path):
    with MetricAccumulator("binary", spill_dir=tmp_path, max_held_rows=20_000) as accumulator:
        accumulator.add(np.tile([0.0, 1.0], _BLOCK_ROWS), np.linspace(0, 1, 2 * _BLOCK_ROWS))
        assert list(tmp_path.rglob("*.npy"))
        accumulator.result()
    assert list(tmp_path.iterdir()) == []


def test_spill_files_go_when_the_work_inside_fails(tmp_path: Path):
    def fail_with_spilled_rows() -> None:
        with MetricAccumulator("binary", spill_dir=tmp_path, max_held_rows=20_000) as accumulator:
            accumulator.add(np.tile([0.0, 1.0], _BLOCK_ROWS), np.linspace(0, 1, 2 * _BLOCK_ROWS))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_with_spilled_rows()
    assert list(tmp_path.iterdir()) == []


def test_a_spill_folder_that_cannot_be_written_is_named(tmp_path: Path):
    missing = tmp_path / "gone"
    accumulator = MetricAccumulator("binary", spill_dir=missing, max_held_rows=100)
    with pytest.raises(WriteError, match="gone: cannot write the scores to rank"):
        accumulator.add(np.zeros(_BLOCK_ROWS), np.linspace(0, 1, _BLOCK_ROWS))


def test_every_figure_has_a_title_and_every_metric_to_choose_by_a_direction():
    figures = MetricAccumulator("binary").result() | MetricAccumulator("regression").result()
    assert set(TITLES) == set(figures)
    assert set(DIRECTIONS) == set(figures) - {"calibration", "positives", "rows"}
    assert DIRECTIONS["auc"] == DIRECTIONS["r2"] == "max"
    assert DIRECTIONS["log_loss"] == DIRECTIONS["rmse"] == DIRECTIONS["ece"] == "min"
