"""What is chosen, and what is proved on rows that had no part in the choice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_logs import clicked, log, texts, train_rows

from widedeep.discovery.fields import TrainRows
from widedeep.discovery.fold_models import FoldModels
from widedeep.discovery.proof import Proof, Prover
from widedeep.discovery.screen import NULLS, Candidate, Score
from widedeep.discovery.search import Search, SearchResult
from widedeep.evaluation.comparison import Change
from widedeep.memory.additive import Additive
from widedeep.reporting import Reporter

ROWS = 6000
NOISE = [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> TrainRows:
    """Clicks that hang on a x b, two fields of 40 values that say nothing, and a list that holds each value twice."""
    draw = np.random.default_rng(0)
    a, b = draw.integers(0, 6, (2, ROWS))
    c, d = draw.integers(0, 40, (2, ROWS))
    logit = draw.normal(0, 1, (6, 6))[a, b]
    doubled = [[f"t{tag}"] * 2 for tag in draw.integers(0, 60, ROWS)]
    columns = {"a": texts(a), "b": texts(b), "c": texts(c), "d": texts(d), "twice": doubled, "y": clicked(draw, logit)}
    features = {"categorical": ["a", "b", "c", "d"], "multi_valued": ["twice"]}
    return train_rows(log(tmp_path_factory.mktemp("rows"), columns, features))


def chosen(*fields: str) -> Score:
    return Score(Candidate(fields, (None,) * len(fields)), gain=0.1, z=50.0, penalty=4.0, two_row_z=0.0)


def proved(rows: TrainRows, *crosses: tuple[str, ...], fdr: float = 0.05) -> Proof:
    return Prover(rows, None).prove([chosen(*fields) for fields in crosses], fdr, Reporter())


def names(proof: Proof) -> list[tuple[str, ...]]:
    return [cross.score.candidate.fields for cross in proof.kept]


def flipped(rows: TrainRows, part: np.ndarray) -> TrainRows:
    label = rows.target.label
    return replace(rows, target=replace(rows.target, label=np.where(part, 1 - label, label).astype(np.float32)))


def same(one: Additive | None, other: Additive | None) -> bool:
    assert one is not None
    assert other is not None
    return all(a.tobytes() == b.tobytes() for a, b in zip(one.weights, other.weights, strict=True))


def test_the_models_of_the_proof_have_not_seen_its_labels(rows: TrainRows) -> None:
    proof, other = proved(rows, ("a", "b"), fdr=0.99), proved(flipped(rows, rows.proof), ("a", "b"), fdr=0.9999999)
    assert same(proof.before, other.before)
    # Refused, the cross is no part of the model that is left.
    assert names(proof) == [("a", "b")]
    assert names(other) == []
    drawn = rows.proof & (np.arange(ROWS) % 50 == 0)
    third = proved(flipped(rows, drawn), ("a", "b"))
    assert names(third) == [("a", "b")]
    assert same(third.after, proof.after)
    assert third.loss.value != proof.loss.value
    changed = proved(flipped(rows, ~rows.proof & (np.arange(ROWS) % 50 == 0)), ("a", "b"))
    assert not same(changed.before, proof.before)


def test_crosses_that_say_nothing_are_refused_whatever_the_choice_thought_of_them(rows: TrainRows) -> None:
    proof = proved(rows, *NOISE)
    assert names(proof) == []
    assert sorted(cross.score.candidate.fields for cross in proof.refused) == sorted(NOISE)
    assert proof.loss.interval == (0.0, 0.0, 0.0)
    assert all(cross.q > 0.05 for cross in proof.refused)


def test_what_is_kept_is_measured_as_if_the_refused_had_never_been_chosen(rows: TrainRows) -> None:
    alone, among = proved(rows, ("a", "b")), proved(rows, NOISE[0], ("a", "b"), NOISE[4])
    assert names(alone) == names(among) == [("a", "b")]
    assert among.kept[0].loss == alone.kept[0].loss
    assert (among.loss, among.auc) == (alone.loss, alone.auc)
    # Of three that were tried, it is one.
    assert among.kept[0].q >= alone.kept[0].q


def test_support_is_the_share_of_the_proofs_rows_whose_combination_was_seen_before(rows: TrainRows) -> None:
    proof = proved(rows, ("c", "d"))
    (cross,) = [*proof.kept, *proof.refused]
    c, d = rows.by_name["c"].codes, rows.by_name["d"].codes
    pair = list(zip(c.tolist(), d.tolist(), strict=True))
    seen = {one for one, late in zip(pair, rows.proof, strict=True) if not late}
    assert cross.support == pytest.approx(
        np.mean([one in seen for one, late in zip(pair, rows.proof, strict=True) if late])
    )
    assert cross.distinct == len(set(pair))


def test_a_known_cross_must_be_beaten(rows: TrainRows) -> None:
    known = [Candidate(("a", "b"), (None, None))]
    proof = Prover(rows, None, known).prove([chosen("a", "b", "c")], 0.05, Reporter())
    assert names(proof) == []


# --------------------------------------------------------------------------------------------------- the choice


def search(rows: TrainRows) -> Search:
    made = Search(rows, None, np.inf, Reporter())
    made.models = FoldModels([field.column() for field in made.screen.fields.values()], made._target, None)
    return made


def test_what_does_not_lower_the_loss_out_of_fold_is_passed_over(rows: TrainRows) -> None:
    found = SearchResult()
    search(rows)._choose([chosen(*NOISE[0]), replace(chosen("a", "b"), gain=0.01)], 3.0, found)
    assert [one.candidate.fields for one in found.chosen] == [("a", "b")]


def test_many_in_a_row_that_do_not_end_the_choice(rows: TrainRows) -> None:
    found = SearchResult()
    search(rows)._choose([*(chosen(*fields) for fields in NOISE), replace(chosen("a", "b"), gain=0.01)], 3.0, found)
    assert found.chosen == []


def test_a_score_that_a_list_owes_to_its_own_row_is_taken_off_with_the_null(
    rows: TrainRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a list that holds a value twice, a row meets itself in the cell."""
    made = search(rows)
    (raw,) = made.screen.scores([Candidate(("d", "twice"), (None, None))], made._residual())
    assert raw.z > 10.0
    assert abs(raw.z - made._null_z(raw)) < 4.0
    ranked, least_z = made._screened(made._pairs(), "screen")
    assert [one.candidate.fields for one in ranked if one.z >= least_z] == [("a", "b")]
    # Not even where the models would take it.
    monkeypatch.setattr(FoldModels, "loss_fall_to", lambda *_: Change(1.0, 0.1))
    found = SearchResult()
    made._choose([raw], 5.0, found)
    assert found.chosen == []


def test_with_a_member_moved_a_pair_says_no_more_than_chance(rows: TrainRows) -> None:
    made = search(rows)
    (pair,) = made.screen.scores([Candidate(("a", "b"), (None, None))], made._residual())
    assert pair.z > 20.0
    assert made._null_z(pair) < 4.0


def test_screening_is_the_same_alone_and_among_others_and_whichever_member_is_sorted(rows: TrainRows) -> None:
    made = search(rows)
    residual = made._residual()
    candidates = [Candidate(fields, (None,) * len(fields)) for fields in [("a", "b"), *NOISE, ("a", "b", "c")]]
    together = made.screen.scores(candidates, residual)
    for candidate, score in zip(candidates, together, strict=True):
        assert made.screen.scores([candidate], residual) == [score]
        assert score.candidate == candidate


def test_nulls_are_the_same_together_with_the_scores_and_alone(rows: TrainRows) -> None:
    made = search(rows)
    residual = made._residual()
    candidates = [Candidate(fields, (None,) * len(fields)) for fields in [("a", "b"), ("a", "twice"), ("a", "b", "c")]]
    with Reporter().work("screen", None, "crosses") as meter:
        scores, nulls = made.screen.scores_and_nulls(candidates, residual, meter, 0)
    assert scores == made.screen.scores(candidates, residual)
    assert nulls == [made.screen.scores(candidates, residual, null=number) for number in range(NULLS)]


def test_of_triples_one_of_each_set_of_fields_is_screened(rows: TrainRows, tmp_path: Path) -> None:
    made = search(rows)
    ranked = [chosen("a", "b"), chosen("a", "c"), chosen("b", "c")]
    triples = [one.fields for one in made._extensions(ranked, SearchResult())]
    assert len(triples) == len({frozenset(fields) for fields in triples})
    assert ("a", "b", "c") in triples
    assert all(len(fields) == 3 for fields in triples)
