"""Discovery from a table to proved crosses, on small logs whose truth is known."""

import os
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_logs import clicked, found_in, kept, log, texts, train_rows, typed_dir

from widedeep.discovery import fold_models, proof, search
from widedeep.discovery.discover import discover, rounded, settings_of, suggested_buckets
from widedeep.discovery.proof import ProvedCross
from widedeep.discovery.screen import Candidate, Score
from widedeep.evaluation.comparison import Change
from widedeep.recipe.load import parse_recipe
from widedeep.reporting import Reporter

ROWS = 12_000
FIELDS = ["a", "b", "c", "d"]
REGRESSION = {"label": {"column": "y", "kind": "regression"}}
AB, CD = frozenset("ab"), frozenset("cd")


def codes(seed: int = 0, rows: int = ROWS, values: int = 8) -> tuple[np.random.Generator, dict[str, np.ndarray]]:
    draw = np.random.default_rng(seed)
    return draw, {name: draw.integers(0, values, rows) for name in FIELDS}


def table(drawn: dict[str, np.ndarray], y: np.ndarray, **more: Any) -> dict[str, Any]:
    return {**{name: texts(values) for name, values in drawn.items()}, **more, "y": y}


def effect(draw: np.random.Generator, *members: np.ndarray, size: float = 1.0) -> np.ndarray:
    """A logit for each combination of the members' codes, of deviation `size`."""
    shape = [int(member.max()) + 1 for member in members]
    values = draw.normal(0, size, shape)
    for axis in range(len(shape)):
        values -= values.mean(axis=axis, keepdims=True)
    return values[members]  # type: ignore[no-any-return]


def planted(seed: int = 0, **more: Any) -> dict[str, Any]:
    """Clicks that hang on the pair a x b beside main effects of a and c."""
    draw, drawn = codes(seed)
    logit = -0.5 + effect(draw, drawn["a"], drawn["b"]) + 0.1 * drawn["a"] - 0.1 * drawn["c"]
    return table(drawn, clicked(draw, logit), **more)


CATEGORICAL = {"categorical": FIELDS}


def test_a_planted_pair_is_found_alone_with_an_honest_promise(tmp_path: Path) -> None:
    found = found_in(log(tmp_path, planted(), CATEGORICAL))
    assert kept(found) == [AB]
    (cross,) = found.kept
    assert cross.loss.low > 0.02
    assert cross.q < 1e-6
    assert cross.distinct == 64
    assert cross.support == 1.0
    assert cross.auc is not None
    assert cross.auc.low > 0.0
    assert found.loss.value == pytest.approx(cross.loss.value)
    assert found.auc == pytest.approx(cross.auc)
    assert (found.complete, found.pairs, found.loss_name) == (True, 6, "log loss")
    assert found.choice_rows + found.proof_rows == found.train_rows == ROWS


def test_the_promise_is_kept_on_fresh_rows(tmp_path: Path) -> None:
    """The rate of each combination, learnt from the first rows, says of fresh ones about what is promised."""
    draw, drawn = codes(5, 3 * ROWS)
    logit = -0.5 + effect(draw, drawn["a"], drawn["b"])
    y = clicked(draw, logit)
    first = {name: values[:ROWS] for name, values in drawn.items()}
    found = found_in(log(tmp_path, table(first, y[:ROWS]), CATEGORICAL))
    rates = np.empty((8, 8))
    a, b = drawn["a"], drawn["b"]
    for i in range(8):
        for j in range(8):
            seen = y[:ROWS][(a[:ROWS] == i) & (b[:ROWS] == j)]
            rates[i, j] = (seen.sum() + 1) / (len(seen) + 2)
    pair = np.log(rates / (1 - rates))
    main = pair.mean(axis=1, keepdims=True) + pair.mean(axis=0) - pair.mean()
    fresh = np.where(y[ROWS:] > 0, -1, 1)
    losses = [np.logaddexp(0, fresh * logits[a[ROWS:], b[ROWS:]]).mean() for logits in (main, pair)]
    (cross,) = found.kept
    assert cross.loss.value == pytest.approx(losses[0] - losses[1], rel=0.25)


def test_two_pairs_are_found_the_stronger_first(tmp_path: Path) -> None:
    draw, drawn = codes(1)
    logit = effect(draw, drawn["a"], drawn["b"], size=0.6) + effect(draw, drawn["c"], drawn["d"], size=1.2)
    found = found_in(log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL))
    assert kept(found) == [CD, AB]
    assert found.loss.value == pytest.approx(sum(cross.loss.value for cross in found.kept), rel=1e-6)


@pytest.mark.parametrize("pure", [True, False])
def test_a_planted_triple_is_found_and_none_of_its_pairs_stays_beside_it(pure: bool, tmp_path: Path) -> None:
    """Pure: no pair of its members says anything. Else pairs are chosen first, and dropped for the triple."""
    draw, drawn = codes(2, values=5)
    members = drawn["a"], drawn["b"], drawn["c"]
    logit = effect(draw, *members, size=1.2) if pure else draw.normal(0, 1.2, (5, 5, 5))[members]
    found = found_in(log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL))
    assert kept(found) == [frozenset("abc")]
    assert (found.pairs, found.triples) == (6, 4)


@pytest.mark.parametrize("buckets", [None, 6])
def test_a_number_is_crossed_at_the_granularity_that_gains_most(buckets: int | None, tmp_path: Path) -> None:
    draw, drawn = codes(3)
    price = draw.lognormal(size=ROWS)
    # The effect changes its sign at every quarter.
    quarter = np.searchsorted(np.quantile(price, [0.25, 0.5, 0.75]), price)
    logit = np.where((quarter + drawn["a"]) % 2 == 0, 0.8, -0.8)
    recipe = {**CATEGORICAL, "numeric": [{"column": "price", "buckets": buckets}]}
    loaded = log(tmp_path, table(drawn, clicked(draw, logit), price=price), recipe)
    found = found_in(loaded)
    assert kept(found) == [{"a", "price"}]
    assert dict(found.kept[0].score.candidate.named) == {"a": None, "price": 4}
    settings = settings_of(found.kept[0], loaded.recipe)
    assert settings.granularity == {"price": 4}
    assert settings.promised == rounded(found.kept[0].loss)


def test_two_numbers_are_crossed_where_the_product_of_their_signs_counts(tmp_path: Path) -> None:
    draw, drawn = codes(4)
    x, z = draw.normal(size=(2, ROWS))
    recipe = {**CATEGORICAL, "numeric": ["x", {"column": "z", "buckets": 5}]}
    found = found_in(log(tmp_path, table(drawn, clicked(draw, np.where(x * z > 0, 0.7, -0.7)), x=x, z=z), recipe))
    assert kept(found) == [{"x", "z"}]
    assert found.kept[0].score.candidate.granularity == (4, 4)


def test_a_cut_that_is_the_fields_own_is_not_said_again(tmp_path: Path) -> None:
    draw, drawn = codes(3)
    price = draw.lognormal(size=ROWS)
    logit = np.where((np.searchsorted(np.quantile(price, [0.25, 0.5, 0.75]), price) + drawn["a"]) % 2 == 0, 0.8, -0.8)
    recipe = {**CATEGORICAL, "numeric": [{"column": "price", "buckets": 4}]}
    loaded = log(tmp_path, table(drawn, clicked(draw, logit), price=price), recipe)
    assert settings_of(found_in(loaded).kept[0], loaded.recipe).granularity == {}


def test_a_list_is_crossed_by_its_values(tmp_path: Path) -> None:
    draw, drawn = codes(4)
    tags = [draw.permutation(6)[: draw.integers(0, 4)] for _ in range(ROWS)]
    weights = draw.normal(0, 1.0, (8, 6))
    logit = np.array([weights[a, held].sum() for a, held in zip(drawn["a"], tags, strict=True)])
    lists = [[f"t{tag}" for tag in held] for held in tags]
    found = found_in(
        log(tmp_path, table(drawn, clicked(draw, logit), tags=lists), {**CATEGORICAL, "multi_valued": ["tags"]})
    )
    assert kept(found)[0] == {"a", "tags"}
    assert len(found.kept) == 1
    # Six tags, and no tag, by eight values.
    assert found.kept[0].distinct == 56


def test_the_promise_of_a_cross_of_lists_is_all_that_it_gains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, drawn = codes(8)
    tags, words = ([draw.permutation(6)[: draw.integers(0, 4)] for _ in range(ROWS)] for _ in range(2))
    weights = draw.normal(0, 1.0, (6, 6))
    logit = np.array([weights[np.ix_(*held)].sum() for held in zip(tags, words, strict=True)])
    lists = {
        "tags": [[f"t{tag}" for tag in held] for held in tags],
        "words": [[f"w{word}" for word in held] for held in words],
    }
    features = {**CATEGORICAL, "multi_valued": [*lists]}
    loaded = log(tmp_path, table(drawn, clicked(draw, logit), **lists), features)
    found = found_in(loaded)
    assert kept(found) == [{"tags", "words"}]
    for module in (fold_models, proof):
        monkeypatch.setattr(module, "LIST_STEPS", 100)
    at_its_end = found_in(loaded)
    assert kept(at_its_end) == kept(found)
    assert found.loss.value == pytest.approx(at_its_end.loss.value, rel=0.1)


def test_of_two_copies_of_a_field_one_is_crossed(tmp_path: Path) -> None:
    frame = planted()
    found = found_in(log(tmp_path, {**frame, "again": frame["a"]}, {"categorical": [*FIELDS, "again"]}))
    assert len(found.kept) == 1
    assert kept(found)[0] in ({"a", "b"}, {"again", "b"})


def test_a_regression_is_searched_for_the_fall_of_its_squared_error(tmp_path: Path) -> None:
    draw, drawn = codes(6)
    mean = 100 + 5 * effect(draw, drawn["a"], drawn["b"])
    y = mean + draw.normal(0, 10, ROWS)
    found = found_in(log(tmp_path, table(drawn, y), CATEGORICAL, data=REGRESSION))
    assert kept(found) == [AB]
    assert (found.loss_name, found.auc, found.kept[0].auc) == ("squared error", None, None)
    assert found.kept[0].loss.value == pytest.approx(float(np.var(mean)), rel=0.2)


@pytest.mark.parametrize("late", [True, False])
def test_a_part_of_rows_without_weight_is_no_obstacle(late: bool, tmp_path: Path) -> None:
    when = np.arange(ROWS)
    weight = ((when < ROWS // 2) == late).astype(np.float64)
    data = {"time": "when", "weight": "w", "split": {"kind": "random", "valid": 0.0, "test": 0.0}}
    found = found_in(log(tmp_path, planted(when=when, w=weight), CATEGORICAL, data=data))
    assert kept(found) == [AB]
    assert (found.choice_rows + found.proof_rows, found.train_rows) == (ROWS // 2, ROWS)


def test_rows_of_no_weight_do_not_count(tmp_path: Path) -> None:
    """a x b holds where the weight is 0, c x d elsewhere."""
    draw, drawn = codes(7)
    weight = draw.integers(0, 2, ROWS).astype(np.float64)
    logit = np.where(weight > 0, effect(draw, drawn["c"], drawn["d"]), effect(draw, drawn["a"], drawn["b"]))
    found = found_in(log(tmp_path, table(drawn, clicked(draw, logit), w=weight), CATEGORICAL, data={"weight": "w"}))
    assert kept(found) == [CD]


@pytest.mark.parametrize("seed", range(3))
def test_noise_has_no_crosses(seed: int, tmp_path: Path) -> None:
    draw, drawn = codes(10 + seed, values=30)
    logit = -1 + 0.1 * drawn["a"] - 0.05 * drawn["b"] + 0.02 * drawn["c"]
    found = found_in(log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL))
    assert found.kept == ()
    assert found.loss.interval == (0.0, 0.0, 0.0)
    assert found.complete


def test_crosses_of_the_recipe_are_known_and_not_proposed_again(tmp_path: Path) -> None:
    draw, drawn = codes(1)
    logit = effect(draw, drawn["a"], drawn["b"]) + effect(draw, drawn["c"], drawn["d"], size=1.2)
    loaded = log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL, crosses=[["d", "c"]])
    found = found_in(loaded)
    assert kept(found) == [AB]
    assert found.pairs == 5
    alone = found_in(log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL, crosses=[["c", "d"], ["b", "a"]]))
    assert (alone.kept, alone.pairs) == ((), 4)


@pytest.mark.parametrize("granularity", [3, 8, 1000])
def test_a_known_cross_of_a_number_counts_at_any_granularity(granularity: int, tmp_path: Path) -> None:
    draw, drawn = codes(3, 4000)
    price = draw.lognormal(size=4000)
    logit = np.where((price > 1) == (drawn["a"] % 2 == 0), 1.0, -1.0)
    crosses = [{"fields": ["price", "a"], "granularity": {"price": granularity}}]
    recipe = {**CATEGORICAL, "numeric": ["price"]}
    found = found_in(log(tmp_path, table(drawn, clicked(draw, logit), price=price), recipe, crosses=crosses))
    assert {"a", "price"} not in kept(found)
    assert found.pairs == 9


def test_what_a_run_says_already_is_not_found_again(tmp_path: Path) -> None:
    draw, drawn = codes(1)
    known = effect(draw, drawn["a"], drawn["b"])
    logit = known + effect(draw, drawn["c"], drawn["d"])
    loaded = log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL)
    assert set(kept(found_in(loaded))) == {AB, CD}
    assert kept(found_in(loaded, logits=lambda rows: known.astype(np.float32))) == [CD]


def test_the_result_is_the_same_on_any_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, drawn = codes(1, 6000)
    logit = effect(draw, drawn["a"], drawn["b"]) + effect(draw, drawn["c"], drawn["d"])
    loaded = log(tmp_path, table(drawn, clicked(draw, logit)), CATEGORICAL)
    results = []
    for cores in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        results.append(replace(found_in(loaded), seconds=0.0))
    assert results[0].kept
    assert results[0] == results[1]


def test_a_spent_budget_gives_a_partial_result_that_says_where_it_ended(tmp_path: Path) -> None:
    loaded = log(tmp_path, planted(), CATEGORICAL)
    nothing = found_in(loaded, budget=1e-9)
    assert (nothing.complete, nothing.stopped_in, nothing.kept) == (False, "the screening of pairs", ())


@pytest.mark.parametrize("stage", ["the screening of triples", "the choice among triples"])
def test_what_was_chosen_before_the_budget_ended_is_proved(
    stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = log(tmp_path, planted(), CATEGORICAL)
    name = {"the screening of triples": "_extensions", "the choice among triples": "_drop_parts_of_triples"}[stage]

    def out_of_time(*_: Any) -> None:
        raise search.OutOfTime

    monkeypatch.setattr(search.Search, name, out_of_time)
    found = found_in(loaded)
    assert (found.complete, found.stopped_in) == (False, stage)
    assert kept(found) == [AB]


def test_halving_the_candidates_on_fewer_rows_still_finds_the_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, drawn = codes(0)
    more = {f"n{i}": draw.integers(0, 8, ROWS) for i in range(8)}
    logit = effect(draw, drawn["a"], drawn["b"], size=1.5)
    names = [*FIELDS, *more]
    loaded = log(tmp_path, table({**drawn, **more}, clicked(draw, logit)), {"categorical": names})
    monkeypatch.setattr(search, "LEAST_ROWS", 500)
    monkeypatch.setattr(search, "ROW_LIMIT", 66 * 1000)
    rungs = search._rungs(66, 8000)
    assert len(rungs) > 2
    found = found_in(loaded)
    assert kept(found) == [AB]
    assert found.pairs == 66


@pytest.mark.parametrize(("candidates", "rows"), [(1, 1), (10, 100), (5000, 10**6), (300_000, 4 * 10**6), (3, 10**9)])
def test_rungs_end_with_all_rows_and_never_grow_in_candidates(candidates: int, rows: int) -> None:
    rungs = search._rungs(candidates, rows)
    assert rungs[0][0] == candidates
    assert rungs[-1][1] == rows
    for less, more in pairwise(rungs):
        assert less[0] >= more[0]
        assert less[1] <= more[1]


def test_fields_of_one_value_or_of_values_seen_once_harm_nothing(tmp_path: Path) -> None:
    more = {
        "same": ["x"] * ROWS,
        "row": [f"r{row}" for row in range(ROWS)],
        "nothing": [None] * (ROWS - 1) + ["y"],
        "zero": np.zeros(ROWS),
        "gone": [None] * (ROWS - 1) + [1.0],
        "none": [[]] * (ROWS - 1) + [["z"]],
    }
    features = {
        "categorical": [*FIELDS, "same", "row", "nothing"],
        "numeric": ["zero", "gone"],
        "multi_valued": ["none"],
    }
    found = found_in(log(tmp_path, planted(**more), features))
    assert kept(found) == [AB]


def test_of_a_few_rows_nothing_is_said(tmp_path: Path) -> None:
    for rows in (3, 12, 80):
        _, drawn = codes(0, rows, 3)
        y = np.arange(rows) % 2
        assert found_in(log(tmp_path, table(drawn, y), CATEGORICAL)).kept == ()


def test_later_rows_of_one_class_have_no_auc(tmp_path: Path) -> None:
    frame = planted()
    order = np.argsort(frame["y"] * (np.arange(ROWS) >= ROWS // 4) == 0, kind="stable")
    when = np.empty(ROWS)
    when[order] = np.arange(ROWS)
    data = {"time": "when", "split": {"kind": "random", "valid": 0.0, "test": 0.0}}
    loaded = log(tmp_path, {**frame, "when": when}, CATEGORICAL, data=data)
    rows = train_rows(loaded)
    assert len(set(rows.target.label[rows.proof].tolist())) == 1
    found = found_in(loaded, fdr=0.999)
    assert found.by_time
    assert all(cross.auc is None for cross in [*found.kept, *found.refused])


def test_labels_of_valid_and_test_rows_change_nothing(tmp_path: Path) -> None:
    split = {"split": {"kind": "column", "column": "part", "valid": ["v"], "test": ["t"]}}
    draw = np.random.default_rng(8)
    part = draw.choice(["x", "x", "x", "v", "t"], ROWS)
    frame = planted(part=part)
    one = found_in(log(tmp_path, frame, CATEGORICAL, data=split))
    other = {**frame, "y": np.where(part == "x", frame["y"], 1 - frame["y"])}
    two = found_in(log(tmp_path, other, CATEGORICAL, data=split))
    assert one.kept
    assert replace(one, seconds=0.0) == replace(two, seconds=0.0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (Change(0.0123456, 0.00123), (0.01235, 0.00993, 0.01476)),
        (Change(123.456, 12.0), (123.5, 99.9, 147.0)),
        (Change(1e-6, 1e-7), (1e-6, 8.04e-7, 1.196e-6)),
        (Change(0.5, 0.0), (0.5, 0.5, 0.5)),
    ],
)
def test_a_promise_has_the_digits_that_its_error_leaves(change: Change, expected: tuple[float, ...]) -> None:
    assert rounded(change) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("distinct", [1, 2, 3, 100, 5000, 10**7])
def test_suggested_buckets_are_the_least_power_of_two_with_few_collisions(distinct: int) -> None:
    buckets = suggested_buckets(distinct)
    assert buckets & (buckets - 1) == 0
    assert distinct / buckets <= 0.01 < distinct / (buckets // 2)


def test_discovery_on_the_way_reports_what_it_does(tmp_path: Path) -> None:
    loaded = log(tmp_path, planted(), CATEGORICAL)
    titles: list[str] = []

    class Listening(Reporter):
        def work(self, title: str, total: float | None, unit: str) -> Any:
            titles.append(title)
            return super().work(title, total, unit)

    discover(loaded.recipe, typed_dir(loaded), budget=None, fdr=0.05, reporter=Listening())
    assert titles[:3] == ["read train rows", "fit main effects", "screen pairs"]
    assert titles[-1] == "prove crosses"


def test_a_very_large_cross_is_suggested_with_its_most_frequent_combinations(monkeypatch: pytest.MonkeyPatch) -> None:
    score = Score(Candidate(("a", "b"), (None, None)), gain=0.1, z=9.0, penalty=1.0, two_row_z=3.0)
    proved = ProvedCross(score, distinct=60, support=1.0, loss=Change(0.1, 0.01), auc=None, q=0.0)
    monkeypatch.setattr("widedeep.discovery.discover.MOST_KEPT", 50)
    recipe = parse_recipe("data: {train: x.csv, label: y}\nfeatures: {categorical: [a, b]}\n", "r", Path(), "r").recipe
    cross = settings_of(proved, recipe)
    assert (cross.max_size, cross.min_count, cross.buckets) == (50, 1, None)
    assert settings_of(replace(proved, distinct=50), recipe).max_size is None
