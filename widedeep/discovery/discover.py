"""Discovery from the train rows to a list of crosses with promises: read, search, prove."""

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

SEARCH_SHARE = 0.75
"""Of the budget: the search stops then, so that there is time to prove what it has found."""
MOST_KEPT = 5_000_000
"""The most frequent combinations that a suggested cross keeps."""
TWOS_Z = 2.0
"""From this score of the combinations in two rows on, a value from a single other row is worth keeping."""


@dataclass(frozen=True)
class Discovery:
    """What was found."""

    kept: tuple[ProvedCross, ...]
    refused: tuple[ProvedCross, ...]
    """Chosen, but not proved at the false discovery rate."""
    loss: Change
    """Fall of the loss per row by all that are kept."""
    auc: Change | None
    pairs: int
    triples: int
    """Crosses screened."""
    loss_name: str
    """What `loss` is: "log loss" or "squared error"."""
    train_rows: int
    choice_rows: int
    proof_rows: int
    by_time: bool
    """Whether the proof's rows are the later ones; else they are drawn at random."""
    stopped_in: str
    """Where the budget ended the search; empty where it is complete."""
    seconds: float
    crosses: tuple[CrossSettings, ...]
    """Those that are kept, as a recipe takes them."""

    @property
    def complete(self) -> bool:
        """Whether the search came to its end."""
        return not self.stopped_in


def discover(
    recipe: Recipe,
    typed_dir: Path,
    *,
    budget: float | None,
    fdr: float,
    reporter: Reporter,
    logits: Callable[[TrainRows], Floats] | None = None,
) -> Discovery:
    """Find crosses of the recipe's fields in the train rows of a typed table.

    `budget` is in seconds, None for no limit. `fdr` is the false discovery rate, in (0, 1). `logits` gives what a trained
    run says of the rows, [N] float32.
    """
    started = monotonic()
    deadline = math.inf if budget is None else started + SEARCH_SHARE * budget
    with reporter.work("read train rows", None, "rows"):
        data = read_train_rows(recipe, typed_dir)
    offset = None if logits is None else logits(data)
    known = [candidate_of(cross, data) for cross in recipe.crosses]
    found = Search(data, offset, deadline, reporter, known).run()
    proof = Prover(data, offset, known).prove(found.chosen, fdr, reporter)
    return Discovery(
        kept=proof.kept,
        refused=proof.refused,
        loss=proof.loss,
        auc=proof.auc,
        pairs=found.pairs,
        triples=found.triples,
        loss_name="log loss" if data.target.kind == "binary" else "squared error",
        train_rows=data.train_rows,
        choice_rows=int((~data.proof).sum()),
        proof_rows=int(data.proof.sum()),
        by_time=data.by_time,
        stopped_in=found.stopped_in,
        seconds=monotonic() - started,
        crosses=tuple(settings_of(cross, recipe) for cross in proof.kept),
    )


def candidate_of(cross: CrossSettings, data: TrainRows) -> Candidate:
    """A recipe's cross, its fields in the order of the rows' fields."""
    names = [name for name in data.by_name if name in cross.fields]
    cuts = [cross.granularity.get(name, data.by_name[name].buckets) for name in names]
    return Candidate(tuple(names), tuple(cuts))


def suggested_buckets(distinct: int) -> int:
    """The least power of two that keeps the expected share of rows with a collision below COLLISION_LIMIT: n / B."""
    return 1 << max(1, math.ceil(math.log2(max(1, distinct) / COLLISION_LIMIT)))


def settings_of(proved: ProvedCross, recipe: Recipe) -> CrossSettings:
    """The cross as the recipe takes it: with a vocabulary, since buckets without collisions would be many more values."""
    candidate = proved.score.candidate
    own_buckets = {number.name or number.column: number.buckets for number in recipe.features.all_numeric()}
    granularity = {name: cut for name, cut in candidate.named if cut is not None and cut != own_buckets.get(name)}
    facts: dict[str, object] = {"fields": candidate.fields, "promised": rounded(proved.loss)}
    if granularity:
        facts["granularity"] = granularity
    if proved.distinct > MOST_KEPT:
        facts["max_size"] = MOST_KEPT
    if proved.score.twos_z > TWOS_Z:
        facts["min_count"] = 1
    return CrossSettings.model_validate(facts)


def rounded(change: Change) -> tuple[float, float, float]:
    """The change and its interval, to the digits that its error leaves."""
    digits = 6 if change.error == 0.0 else max(0, 2 - math.floor(math.log10(change.error)))
    value, low, high = (round(float(one), digits) for one in change.interval)
    return value, low, high
