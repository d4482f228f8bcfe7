"""Metrics by group against literal loops, all orders of ties and scikit-learn; borders, row order, spilling, edges."""

import json
import math
from fractions import Fraction
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from widedeep.errors import WriteError
from widedeep.evaluation import DIRECTIONS, TITLES, MetricAccumulator, metric_direction, metric_title
from widedeep.evaluation.grouped import GroupedRanking
from widedeep.evaluation.metrics import _BLOCK_ROWS

CUTOFFS = (1, 3, 10)
PLAIN = set(MetricAccumulator("binary").result())


def by_group(label, score, weight, group, *, chunk=10**9, cutoffs=CUTOFFS, **settings):
    """Only the figures by group of a grouped accumulator."""
    group = np.asarray(group, dtype=np.uint64)
    with MetricAccumulator("binary", grouped=True, cutoffs=cutoffs, **settings) as accumulator:
        for start in range(0, len(score), chunk):
            part = slice(start, start + chunk)
            accumulator.add(label[part], score[part], None if weight is None else weight[part], group[part])
        return {name: value for name, value in accumulator.result().items() if name not in PLAIN}


def rows_of_one_group(label, score):
    return np.array(label, dtype=np.float64), np.array(score, dtype=np.float64), None, np.zeros(len(label))


# ------------------------------------------------------------------------------------------------------- oracles


def auc_by_pairs(label, score, weight):
    positives = [(s, w) for y, s, w in zip(label, score, weight, strict=True) if y]
    negatives = [(s, w) for y, s, w in zip(label, score, weight, strict=True) if not y]
    won = sum(v * w * ((s > t) + Fraction(s == t, 2)) for s, v in positives for t, w in negatives)
    return won / (sum(v for _, v in positives) * sum(w for _, w in negatives))


def figures_of_order(ranked, cutoff):
    """AP, NDCG, reciprocal rank and hit of labels in ranked order, as their definitions read."""
    num_positives = sum(ranked)
    precisions = [Fraction(sum(ranked[:i]), i) for i in range(1, len(ranked) + 1) if i <= cutoff and ranked[i - 1]]
    gain = math.fsum(1 / math.log2(i + 1) for i in range(1, len(ranked) + 1) if i <= cutoff and ranked[i - 1])
    best = math.fsum(1 / math.log2(i + 1) for i in range(1, min(cutoff, num_positives) + 1))
    return {
        f"map@{cutoff}": Fraction(sum(precisions)) / min(cutoff, num_positives),
        f"ndcg@{cutoff}": gain / best,
        "mrr": Fraction(1, ranked.index(1) + 1),
        f"hit_rate@{cutoff}": Fraction(int(1 in ranked[:cutoff])),
    }


def expected_over_ties(label, score, cutoffs):
    """Mean of the figures over every order of the rows that falls by score."""
    order = sorted(range(len(score)), key=lambda row: -score[row])
    orders = [[]]
    for tied in sorted(set(score), reverse=True):
        rows = [row for row in order if score[row] == tied]
        orders = [head + list(tail) for head in orders for tail in permutations(rows)]
    figures = [
        {name: value for k in cutoffs for name, value in figures_of_order([label[row] for row in o], k).items()}
        for o in orders
    ]
    return {name: float(sum(f[name] for f in figures) / len(figures)) for name in figures[0]}


def literal(label, score, weight, group, cutoffs=CUTOFFS):
    """Every figure by group from a loop over groups; ties by all of their orders, AUC by all pairs, in fractions."""
    weight = np.ones(len(label)) if weight is None else weight
    groups, aucs, queries, one_class = 0, [], [], 0
    for number in sorted(set(group.tolist())):
        mine = [row for row in range(len(group)) if group[row] == number and weight[row] > 0]
        if not mine:
            continue
        groups += 1
        y, s = [int(label[row]) for row in mine], [float(score[row]) for row in mine]
        w = [Fraction(float(weight[row])) for row in mine]
        if 0 < sum(y) < len(y):
            aucs.append((sum(w), auc_by_pairs(y, s, w)))
        else:
            one_class += 1
        if any(y):
            queries.append(expected_over_ties(y, s, cutoffs))
    names = ["mrr", *(f"{kind}@{k}" for kind in ("map", "ndcg", "hit_rate") for k in cutoffs)]
    means = {name: math.fsum(q[name] for q in queries) / len(queries) if queries else None for name in names}
    gauc = float(sum(w * auc for w, auc in aucs) / sum(w for w, _ in aucs)) if aucs else None
    return {"gauc": gauc, "groups": groups, "groups_one_class": one_class} | means


def assert_close(figures, expected, tolerance=1e-12):
    assert figures.keys() == expected.keys()
    for name, value in expected.items():
        assert figures[name] == (value if value is None else pytest.approx(value, rel=tolerance, abs=tolerance)), name


@st.composite
def grouped_rows(draw, max_rows=300, max_group=None):
    """Rows in a random number of groups, with ties, weights (zeros too) or none, and any share of positives."""
    seed, rows = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, max_rows))
    random = np.random.default_rng(seed)
    hashes = random.integers(0, 2**64, draw(st.integers(1, rows)), dtype=np.uint64)
    group = hashes[random.integers(0, len(hashes), rows)]
    if max_group is not None:
        kept = [row for row in range(rows) if (group[:row] == group[row]).sum() < max_group]
        group, rows = group[kept], len(kept)
    levels = draw(st.sampled_from([1, 3, 40, 10**9]))
    score = (random.integers(0, levels + 1, rows) / levels).astype(draw(st.sampled_from([np.float32, np.float64])))
    label = (random.random(rows) < draw(st.sampled_from([0.0, 0.1, 0.5, 0.9, 1.0]))).astype(np.float32)
    weight = None
    if draw(st.booleans()):
        weight = np.where(random.random(rows) < 0.2, 0.0, random.lognormal(0, 2, rows))
    return label, score, weight, group


# ----------------------------------------------------------------------------------------- against the definitions


@settings(max_examples=150)
@given(grouped_rows(max_rows=60, max_group=6))
def test_every_figure_equals_a_loop_over_groups_and_over_all_orders_of_ties(rows):
    assert_close(by_group(*rows), literal(*rows))


def test_a_group_worked_out_by_hand():
    # Ranks: positive, negative, positive, negative, positive.
    figures = by_group(*rows_of_one_group([1, 0, 1, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5]), cutoffs=(1, 2, 10))
    assert figures["gauc"] == pytest.approx(3 / 6)
    assert [figures[f"map@{k}"] for k in (1, 2, 10)] == pytest.approx([1, 1 / 2, (1 + 2 / 3 + 3 / 5) / 3])
    discounts = [1, 1 / math.log2(3), 1 / 2, 1 / math.log2(5), 1 / math.log2(6)]
    assert figures["ndcg@2"] == pytest.approx(1 / (1 + discounts[1]))
    assert figures["ndcg@10"] == pytest.approx((1 + discounts[2] + discounts[4]) / sum(discounts[:3]))
    assert figures["mrr"] == figures["hit_rate@1"] == 1.0


def test_figures_are_exactly_one_for_perfect_rankings_and_gauc_exactly_zero_for_reversed_ones():
    random = np.random.default_rng(3)
    group = np.repeat(np.arange(3000), random.integers(2, 30, 3000))
    label = (random.random(len(group)) < 0.3).astype(np.float64)
    score = random.random(len(group)) / 2
    perfect = by_group(label, score + label / 2, None, group)
    assert {value for name, value in perfect.items() if not name.startswith("groups")} == {1.0}
    assert by_group(label, score + (1 - label) / 2, None, group)["gauc"] == 0.0


@settings(max_examples=60)
@given(grouped_rows())
def test_gauc_is_the_weighted_mean_of_scikit_learns_auc_per_group(rows):
    label, score, weight, group = rows
    weight = np.ones(len(label)) if weight is None else weight
    aucs, weights = [], []
    for number in np.unique(group):
        mine = (group == number) & (weight > 0)
        if len(np.unique(label[mine])) == 2:
            aucs.append(oracle.roc_auc_score(label[mine], score[mine], sample_weight=weight[mine]))
            weights.append(weight[mine].sum())
    expected = np.average(aucs, weights=weights) if aucs else None
    assert by_group(*rows)["gauc"] == (expected if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-9))


@settings(max_examples=60)
@given(grouped_rows(), st.integers(1, 40))
def test_ndcg_is_the_mean_of_scikit_learns_per_group_with_ties_averaged(rows, cutoff):
    label, score, weight, group = rows
    weight = np.ones(len(label)) if weight is None else weight
    values = []
    for number in np.unique(group):
        mine = (group == number) & (weight > 0)
        if label[mine].any():  # scikit-learn refuses a single row, whose ranking is perfect
            alone = mine.sum() == 1
            values.append(1.0 if alone else oracle.ndcg_score([label[mine]], [score[mine].astype(float)], k=cutoff))
    expected = np.mean(values) if values else None
    name = f"ndcg@{cutoff}"
    figure = by_group(*rows, cutoffs=(cutoff,))[name]
    assert figure == (expected if expected is None else pytest.approx(expected, rel=1e-9))


def test_map_without_ties_and_past_the_last_rank_is_scikit_learns_average_precision():
    random = np.random.default_rng(4)
    group = random.integers(0, 50, 2000)
    label, score = (random.random(2000) < 0.2).astype(np.float64), random.random(2000)
    expected = [oracle.average_precision_score(label[group == g], score[group == g]) for g in range(50)]
    assert by_group(label, score, None, group, cutoffs=(2000,))["map@2000"] == pytest.approx(np.mean(expected))


def test_all_rows_in_one_group_give_the_plain_auc():
    random = np.random.default_rng(5)
    score, weight = random.random(5000).round(2), random.lognormal(0, 2, 5000)
    label = (random.random(5000) < score).astype(np.float64)
    with MetricAccumulator("binary", grouped=True) as accumulator:
        accumulator.add(label, score, weight, np.full(5000, 7, dtype=np.uint64))
        result = accumulator.result()
    assert result["gauc"] == pytest.approx(result["auc"], rel=1e-12)
    assert (result["groups"], result["groups_one_class"]) == (1, 0)


def test_groups_of_enormous_weight_do_not_blur_the_auc_of_light_ones_next_to_them():
    random = np.random.default_rng(6)
    group = random.integers(0, 400, 4000).astype(np.uint64)
    heavy = group % 2 == 1
    score, weight = random.random(4000).round(2), random.random(4000) * np.where(heavy, 1e9, 1e-3)
    # All heavy rows are positive: their groups, of one class, are left out.
    label = np.where(heavy, 1.0, random.random(4000) < 0.4)
    light = [column[~heavy] for column in (label, score, weight, group)]
    assert by_group(label, score, weight, group)["gauc"] == pytest.approx(by_group(*light)["gauc"], rel=1e-13)


# ------------------------------------------------------------------------------------------------- ties and order


def test_a_constant_score_is_worth_what_random_orders_are_worth():
    random = np.random.default_rng(7)
    group = np.repeat(np.arange(200), 30)
    label = (random.random(6000) < 0.1).astype(np.float64)
    constant = by_group(label, np.full(6000, 0.3), None, group)
    trials = [by_group(label, random.random(6000), None, group) for _ in range(60)]
    assert constant["gauc"] == 0.5
    for name, value in constant.items():
        values = [trial[name] for trial in trials]
        assert abs(value - np.mean(values)) <= 5 * np.std(values) / math.sqrt(60) + 1e-12, name


@pytest.mark.parametrize("rows", [1_000, 200_000])
@pytest.mark.parametrize("above", [0, 3])
def test_one_positive_among_very_many_ties_has_an_even_chance_of_every_rank(rows, above):
    label, score = np.zeros(above + rows), np.full(above + rows, 0.2)
    label[-1], score[:above] = 1, 0.5
    ranks = np.arange(above + 1, above + rows + 1)
    figures = by_group(label, score, None, np.zeros(above + rows), cutoffs=(10,))
    assert figures["mrr"] == pytest.approx((1 / ranks).mean(), rel=1e-12)
    assert figures["map@10"] == pytest.approx((1 / ranks * (ranks <= 10)).mean(), rel=1e-12)
    assert figures["hit_rate@10"] == pytest.approx((10 - above) / rows, rel=1e-12)


def test_half_positives_among_very_many_ties_are_hit_as_coin_tosses_would_be():
    # Drawing from so many rows is all but independent, so P(rank of the first positive = j) is all but 2^-j.
    rows = 400_000
    figures = by_group(np.tile([0.0, 1.0], rows // 2), np.full(rows, 0.2), None, np.zeros(rows), cutoffs=(5,))
    assert figures["hit_rate@5"] == pytest.approx(1 - 2**-5, rel=1e-5)
    assert figures["mrr"] == pytest.approx(math.log(2), rel=1e-5)


@settings(max_examples=100)
@given(grouped_rows(), st.integers(1, 100), st.randoms(use_true_random=False))
def test_row_order_and_batch_borders_do_not_change_a_bit(rows, chunk, random):
    order = list(range(len(rows[0])))
    random.shuffle(order)
    shuffled = [column if column is None else column[order] for column in rows]
    assert by_group(*shuffled, chunk=chunk) == by_group(*rows)


@settings(max_examples=60)
@given(grouped_rows(), st.integers(1, 60), st.lists(st.integers(0, 300), max_size=6))
@example((np.ones(3), np.ones(3), None, np.arange(3, dtype=np.uint64)), 1, [1, 2])
def test_spilling_at_any_border_does_not_change_a_bit(rows, max_held_rows, borders):
    label, score, weight, group = rows
    signed_weight = np.where(label == 1, 1.0, -1.0) * (1.0 if weight is None else weight)
    ranking = GroupedRanking(CUTOFFS, None, max_held_rows)
    edges = sorted({0, len(label), *(border for border in borders if border < len(label))})
    for start, stop in pairwise(edges):
        ranking.add(group[start:stop], score[start:stop].astype(np.float64), signed_weight[start:stop])
    assert ranking.figures() == by_group(*rows)
    ranking.close()


def test_many_blocks_of_rows_that_spill_again_and_again_change_nothing(tmp_path: Path):
    random = np.random.default_rng(8)
    rows = 4 * _BLOCK_ROWS + 777
    group, score = random.integers(0, 20_000, rows), random.random(rows).round(3)
    label, weight = (random.random(rows) < score / 4).astype(np.float64), random.random(rows)
    whole = by_group(label, score, weight, group)
    spilled = by_group(label, score, weight, group, chunk=10_007, max_held_rows=5_000, spill_dir=tmp_path)
    assert spilled == whole
    assert whole["groups"] == 20_000


# --------------------------------------------------------------------------------- groups left out, and the undefined


def test_groups_of_one_class_are_counted_and_left_out_of_gauc_and_those_without_positives_of_the_rest():
    label = np.array([1, 0, 0, 0, 1, 1.0])
    score = np.array([0.2, 0.8, 0.9, 0.1, 0.5, 0.4])
    figures = by_group(label, score, None, [1, 1, 2, 2, 3, 3])
    assert (figures["groups"], figures["groups_one_class"]) == (3, 2)
    assert figures["gauc"] == 0.0
    assert figures["mrr"] == (1 / 2 + 1) / 2
    assert figures["hit_rate@1"] == 1 / 2


def test_gauc_weighs_groups_by_impressions_and_the_other_means_do_not():
    label = np.array([1, 0, 1, 0, 0, 0.0])
    score = np.array([0.9, 0.1, 0.1, 0.2, 0.3, 0.4])
    figures = by_group(label, score, None, [1, 1, 2, 2, 2, 2])
    assert figures["gauc"] == pytest.approx(2 / 6)
    assert figures["mrr"] == pytest.approx((1 + 1 / 4) / 2)
    weighted = by_group(label, score, np.array([3.0, 1, 1, 1, 1, 1]), [1, 1, 2, 2, 2, 2])
    assert weighted["gauc"] == pytest.approx(4 / 8)
    assert weighted["mrr"] == figures["mrr"]


def test_rows_without_weight_are_as_if_they_were_not_there():
    random = np.random.default_rng(9)
    rows = 500
    label, score = (random.random(rows) < 0.3).astype(np.float64), random.random(rows).round(1)
    group, weight = random.integers(0, 150, rows).astype(np.uint64), random.integers(0, 3, rows).astype(np.float64)
    kept = weight > 0
    figures = by_group(label, score, weight, group)
    assert figures == by_group(label[kept], score[kept], weight[kept], group[kept])
    assert figures["groups"] == len(np.unique(group[kept])) < len(np.unique(group))


@pytest.mark.parametrize("rows", [0, 4])
def test_without_weight_every_metric_is_none_and_there_are_no_groups(rows):
    figures = by_group(np.ones(rows), np.full(rows, 0.5), np.zeros(rows), np.arange(rows))
    assert (figures.pop("groups"), figures.pop("groups_one_class")) == (0, 0)
    assert set(figures.values()) == {None}


@pytest.mark.parametrize(("only", "defined"), [(0.0, set()), (1.0, {1.0})])
def test_one_class_everywhere_leaves_gauc_undefined_and_json_stays_strict(only, defined):
    figures = by_group(np.full(4, only), np.array([0.1, 0.2, 0.3, 0.3]), None, [1, 1, 2, 2])
    json.dumps(figures, allow_nan=False)
    assert figures.pop("gauc") is None
    assert (figures.pop("groups"), figures.pop("groups_one_class")) == (2, 2)
    assert {value for value in figures.values() if value is not None} == defined


def test_groups_whose_hashes_differ_in_any_bit_alone_are_different_groups():
    group = np.concatenate(([0], 2 ** np.arange(64, dtype=np.uint64))).astype(np.uint64)
    figures = by_group(np.ones(65), np.full(65, 0.5), None, group)
    assert figures["groups"] == 65


# ------------------------------------------------------------------------------------------------ the accumulator


def test_grouping_adds_its_figures_and_changes_none_of_the_others():
    random = np.random.default_rng(10)
    label, score = np.tile([0.0, 1.0], 50), random.random(100)
    with MetricAccumulator("binary") as plain, MetricAccumulator("binary", grouped=True, cutoffs=[5, 10]) as grouped:
        plain.add(label, score)
        grouped.add(label, score, None, np.repeat(np.arange(10), 10).astype(np.uint64))
        result, without = grouped.result(), plain.result()
    assert {name: result[name] for name in without} == without
    at_cutoffs = [f"{kind}@{k}" for kind in ("map", "ndcg", "hit_rate") for k in (5, 10)]
    assert set(result) - set(without) == {"gauc", "mrr", "groups", "groups_one_class", *at_cutoffs}


def test_groups_are_refused_where_nothing_can_be_ranked():
    with pytest.raises(ValueError, match="need a binary label, not regression"):
        MetricAccumulator("regression", grouped=True)


@pytest.mark.parametrize("cutoffs", [(0,), (10, -1)])
def test_a_cutoff_below_one_is_refused(cutoffs):
    with pytest.raises(ValueError, match="cutoffs must be at least 1"):
        MetricAccumulator("binary", grouped=True, cutoffs=cutoffs)


@pytest.mark.parametrize(
    ("grouped", "group", "message"),
    [
        (True, None, "needs a group for every row"),
        (False, np.zeros(2, np.uint64), "needs no group"),
        (True, np.zeros(2, np.int64), r"uint64 of shape \[2\], not int64 \(2,\)"),
        (True, np.zeros(3, np.uint64), r"uint64 of shape \[2\], not uint64 \(3,\)"),
    ],
)
def test_groups_that_do_not_fit_are_refused(grouped, group, message):
    accumulator = MetricAccumulator("binary", grouped=grouped)
    with pytest.raises(ValueError, match=message):
        accumulator.add(np.zeros(2), np.zeros(2), None, group)
    assert accumulator.result()["rows"] == 0


def test_spilled_groups_go_with_the_accumulator(tmp_path: Path):
    rows = 2 * _BLOCK_ROWS
    with MetricAccumulator("binary", grouped=True, spill_dir=tmp_path, max_held_rows=1_000) as accumulator:
        group = np.arange(rows, dtype=np.uint64)
        accumulator.add(np.tile([0.0, 1.0], _BLOCK_ROWS), np.linspace(0, 1, rows), None, group)
        assert list(tmp_path.rglob("*.rows"))
        accumulator.result()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [1, 256, 2**40])
def test_groups_spread_evenly_over_the_spill_files_even_where_their_hashes_are_regular(tmp_path: Path, step):
    ranking = GroupedRanking((10,), tmp_path, max_held_rows=1)
    ranking.add(np.arange(100_000, dtype=np.uint64) * np.uint64(step), np.zeros(100_000), np.ones(100_000))
    sizes = [path.stat().st_size for path in tmp_path.rglob("*.rows")]
    assert sum(sizes) == 24 * 100_000
    assert max(sizes) < 1.5 * 24 * 100_000 / 256
    ranking.close()


def test_a_spill_folder_for_groups_that_cannot_be_written_is_named(tmp_path: Path):
    ranking = GroupedRanking((10,), tmp_path / "gone", max_held_rows=1)
    with pytest.raises(WriteError, match="gone: cannot write the scores to rank by group"):
        ranking.add(np.arange(2, dtype=np.uint64), np.zeros(2), np.ones(2))


# ------------------------------------------------------------------------------------------- titles and directions


def test_every_figure_has_a_title_and_a_direction_by_name():
    figures = set(by_group(*rows_of_one_group([1, 0], [0.5, 0.2]), cutoffs=(5, 10)))
    titles = {metric_title(name) for name in figures}
    assert titles == {
        *("GAUC", "MAP@5", "MAP@10", "NDCG@5", "NDCG@10", "MRR", "hit rate@5", "hit rate@10"),
        *("groups", "groups of one class"),
    }
    assert {name for name in figures if metric_direction(name) is None} == {"groups", "groups_one_class"}
    assert {metric_direction(name) for name in figures} == {"max", None}


def test_figures_of_all_rows_keep_their_titles_and_directions():
    assert {name: metric_title(name) for name in TITLES} == TITLES
    assert {name: metric_direction(name) for name in DIRECTIONS} == DIRECTIONS
    assert {name for name in TITLES if metric_direction(name) is None} == {"calibration", "positives", "rows"}


@pytest.mark.parametrize(
    "name", ["acu", "map", "map@", "map@0", "map@05", "map@-1", "map@5 ", "auc@5", "mrr@5", "@5", ""]
)
def test_names_that_no_figure_has_are_unknown(name):
    with pytest.raises(KeyError):
        metric_direction(name)
    with pytest.raises(KeyError):
        metric_title(name)
