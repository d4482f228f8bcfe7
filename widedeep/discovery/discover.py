"""Discovery: reads the train rows, searches crosses in them and proves the gain that each promises."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from widedeep.discovery.fields import TrainRows, read_train_rows
from widedeep.discovery.proof import ProvedCross, Prover
from widedeep.discovery.screen import Candidate
from widedeep.discovery.search import Search
from widedeep.evaluation.comparison import Change
from widedeep.features.collisions import COLLISION_LIMIT
from widedeep.memory.columns import Floats
from widedeep.recipe.schema import CrossSettings, Recipe
from widedeep.reporting import Reporter
from widedeep.workers.shelf import Shelf

SEARCH_SHARE = 0.75
"""Share of the budget after which the search stops, so that there is time to prove what it has found."""
MOST_KEPT = 5_000_000
"""A suggested cross keeps at most this many combinations, the most frequent ones."""
LEAST_TWO_ROW_Z = 2.0
"""If combinations in two rows have at least this z, a value from a single other row is worth keeping."""


@dataclass(frozen=True)
class Discovery:
    """The result of discovery."""

    kept: tuple[ProvedCross, ...]
    refused: tuple[ProvedCross, ...]
    """Crosses that were chosen, but not proved at the false discovery rate."""
    loss: Change
    """Fall of the loss per row by all kept crosses together."""
    auc: Change | None
    """Rise of the AUC likewise; None for a regression, or rows of one class."""
    pairs: int
    """Number of pairs screened."""
    triples: int
    """Number of triples screened."""
    loss_name: str
    """The name of the loss: "log loss" or "squared error"."""
    train_rows: int
    choice_rows: int
    """Number of rows that crosses were chosen on."""
    proof_rows: int
    """Number of rows that crosses were proved on."""
    by_time: bool
    """Whether the proof's rows are the later rows; else they are drawn at random."""
    stopped_in: str
    """The stage in which the budget ended the search; empty if the search is complete."""
    seconds: float
    crosses: tuple[CrossSettings, ...]
    """The kept crosses as settings of a recipe."""

    @property
    def complete(self) -> bool:
        """Whether the search was complete."""
        return not self.stopped_in


def discover(
    recipe: Recipe,
    typed_dir: Path,
    *,
    budget: float | None,
    fdr: float,
    reporter: Reporter,
    logits: Callable[[TrainRows], Floats] | None = None,
    shelf: Shelf | None = None,
) -> Discovery:
    """Find crosses of the recipe's fields in the train rows of a typed table.

    `budget` is in seconds, None for no limit. `fdr` is the false discovery rate, in (0, 1). `logits` gives a trained
    run's logits of the rows, [N] float32. Workers, those of `shelf`, share the work if there are any; the result is the
    same.
    """
    started = monotonic()
    deadline = math.inf if budget is None else started + SEARCH_SHARE * budget
    with reporter.work("read train rows", None, "rows"):
        data = read_train_rows(recipe, typed_dir)
    offset = None if logits is None else logits(data)
    known = [candidate_of(cross, data) for cross in recipe.crosses]
    result = Search(data, offset, deadline, reporter, known, shelf).run()
    proof = Prover(data, offset, known, shelf).prove(result.chosen, fdr, reporter)
    return Discovery(
        kept=proof.kept,
        refused=proof.refused,
        loss=proof.loss,
        auc=proof.auc,
        pairs=result.pairs,
        triples=result.triples,
        loss_name="log loss" if data.target.kind == "binary" else "squared error",
        train_rows=data.train_rows,
        choice_rows=int((~data.proof).sum()),
        proof_rows=int(data.proof.sum()),
        by_time=data.by_time,
        stopped_in=result.stopped_in,
        seconds=monotonic() - started,
        crosses=tuple(settings_of(cross, recipe) for cross in proof.kept),
    )


def candidate_of(cross: CrossSettings, data: TrainRows) -> Candidate:
    """A recipe's cross as a candidate, with its fields in the order of the rows' fields."""
    names = [name for name in data.by_name if name in cross.fields]
    cuts = [cross.granularity.get(name, data.by_name[name].buckets) for name in names]
    return Candidate(tuple(names), tuple(cuts))


def suggested_buckets(distinct: int) -> int:
    """The least power of two B that keeps n / B, the expected share of rows with a collision, below COLLISION_LIMIT."""
    return 1 << max(1, math.ceil(math.log2(max(1, distinct) / COLLISION_LIMIT)))


def settings_of(proved: ProvedCross, recipe: Recipe) -> CrossSettings:
    """The cross as settings of a recipe. It has a vocabulary, because buckets without collisions would be many more."""
    candidate = proved.score.candidate
    field_buckets = {number.name or number.column: number.buckets for number in recipe.features.all_numeric()}
    granularity = {name: cut for name, cut in candidate.named if cut is not None and cut != field_buckets.get(name)}
    facts: dict[str, object] = {"fields": candidate.fields, "promised": rounded(proved.loss)}
    if granularity:
        facts["granularity"] = granularity
    if proved.distinct > MOST_KEPT:
        facts["max_size"] = MOST_KEPT
    if proved.score.two_row_z > LEAST_TWO_ROW_Z:
        facts["min_count"] = 1
    return CrossSettings.model_validate(facts)


def rounded(change: Change) -> tuple[float, float, float]:
    """(change, low, high), rounded to the digits that its error leaves significant."""
    digits = 6 if change.error == 0.0 else max(0, 2 - math.floor(math.log10(change.error)))
    value, low, high = (round(float(bound), digits) for bound in change.interval)
    return value, low, high
