"""A recipe's parts, one taken away at a time: kinds of model with and without crosses, paired with the whole."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from widedeep.errors import DataError, UsageError
from widedeep.evaluation.comparison import Change, Estimate, LabelledRows, change_over_seeds, estimates
from widedeep.pipeline.experiment import SeedsResult, train_seeds
from widedeep.pipeline.past_runs import chosen_split, typed_table
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import Scores, score_labelled, score_only
from widedeep.scoring.scorer import Scorer
from widedeep.table.parts import typed_blocks

Load = Callable[[Sequence[str]], LoadedRecipe]
"""The recipe with these overrides on top."""


@dataclass(frozen=True)
class Variant:
    """A kind of model, with the recipe's crosses or without."""

    kind: str
    crosses: bool
    result: SeedsResult
    """Its runs by seed, and their metrics' means and deviations."""
    differences: dict[str, Change]
    """Metric → this variant minus the whole, paired by row and by seed; see `change_over_seeds`."""

    @property
    def name(self) -> str:
        """In words."""
        if KINDS[self.kind].wide == "never":
            return self.kind
        return f"{self.kind} with crosses" if self.crosses else f"{self.kind} without crosses"


@dataclass(frozen=True)
class Ablation:
    """All variants; the whole comes last."""

    variants: tuple[Variant, ...]
    added: dict[str, dict[str, Change]]
    """Kind that takes crosses → metric → with them minus without; a kind that has a wide part only with crosses gets its
    linear part with them."""
    split: str
    rows: int
    grouped: bool


def ablate(
    load: Load, kinds: Sequence[str], work_dir: Path, reporter: Reporter, *, seeds: int, wait: bool = False
) -> Ablation:
    """Train what is missing of each kind with and without crosses, and compare all with the last kind with crosses.

    The variant that is the recipe itself keeps its name, so that its runs count; others are called after it. Measured
    on the test rows, else the valid ones. Raises UsageError for kinds that there are not, and where no rows are held out.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--kinds {kind}: must be some of {', '.join(KINDS)}")
    found = _planned(load, list(dict.fromkeys(kinds)), reporter)
    if len(found) == 1:
        raise UsageError(
            f"--kinds {','.join(kinds)}: one model alone has nothing to be compared with: name another kind, or give the "
            "recipe crosses"
        )
    trained: list[tuple[str, bool, SeedsResult]] = []
    for number, (kind, crosses, loaded) in enumerate(found, start=1):
        reporter.note(f"{loaded.recipe.name} ({number} of {len(found)})")
        result = train_seeds(loaded, work_dir, reporter, seeds=seeds, resume=True, wait=wait)
        if not result.runs[0].metrics:
            raise UsageError(f"{loaded.title}: holds no test or valid rows out, on which kinds could be compared")
        trained.append((kind, crosses, result))
    return _compared(trained, _Measured(work_dir, reporter, wait))


def _compared(trained: Sequence[tuple[str, bool, SeedsResult]], measured: "_Measured") -> Ablation:
    scores = [[measured.scores(run.run) for run in result.runs] for _, _, result in trained]
    rows = measured.rows
    assert rows is not None
    whole = [estimates(rows, one) for one in scores[-1]]
    if not whole[0]:
        raise DataError(f"the {measured.split} rows have no weight: no metric compares the kinds")
    variants: list[Variant] = []
    added: dict[str, dict[str, Change]] = {}
    before = whole
    for (kind, crosses, result), of_runs in zip(trained, scores, strict=True):
        # One variant after the other: figures with their influences take far more memory than scores.
        ours = [estimates(rows, one) for one in of_runs]
        if crosses and variants and variants[-1].kind == kind:
            added[kind] = _changes(ours, before)
        variants.append(Variant(kind, crosses, result, _changes(ours, whole)))
        before = ours
    return Ablation(tuple(variants), added, measured.split, len(rows.label), rows.group is not None)


def _planned(load: Load, kinds: Sequence[str], reporter: Reporter) -> list[tuple[str, bool, LoadedRecipe]]:
    """Kind, whether with crosses, and the recipe of every variant; the whole comes last."""
    base = load(()).recipe
    planned = []
    for kind in kinds:
        own_kind = [f"model.kind={kind}", f"name={base.name}-{kind}"]
        full = load(own_kind)
        if full.recipe.crosses:
            planned.append((kind, False, load([*own_kind, "crosses=[]", f"name={base.name}-{kind}-no-crosses"])))
        if kind == base.model.kind:
            full = load(())
        planned.append((kind, bool(full.recipe.crosses), full))
    if not any(crosses for _, crosses, _ in planned):
        reporter.note("none of these recipes has crosses: the kinds are compared without")
    return planned


class _Measured:
    """Scores runs on one set of rows."""

    def __init__(self, work_dir: Path, reporter: Reporter, wait: bool) -> None:
        self._work_dir, self._reporter, self._wait = work_dir, reporter, wait
        self.rows: LabelledRows | None = None
        self.split = ""

    def scores(self, path: Path) -> Scores:
        """The run's scores of the rows, which are the first run's."""
        scorer = Scorer.load(path)
        typed_dir = typed_table(RunDirectory(path), scorer.recipe, self._work_dir, self._reporter, wait=self._wait)
        self.split = chosen_split(typed_dir, None)
        frames = typed_blocks(typed_dir, self.split)
        if self.rows is not None:
            return score_only(scorer, frames)
        scored = score_labelled(scorer, frames, {})
        self.rows = scored.rows(scorer)
        return scored.scores


def _changes(ours: Sequence[dict[str, Estimate]], theirs: Sequence[dict[str, Estimate]]) -> dict[str, Change]:
    """Metric → ours minus theirs, seed by seed."""
    return {
        name: change_over_seeds([one[name].minus(other[name]) for one, other in zip(ours, theirs, strict=True)])
        for name in ours[0]
    }
