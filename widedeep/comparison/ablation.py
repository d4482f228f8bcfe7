"""Ablation of a recipe: kinds of model with and without crosses, each compared with the whole on the same rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from widedeep.errors import DataError, UsageError
from widedeep.evaluation.comparison import Change, Estimate, LabelledRows, change_over_seeds, estimates
from widedeep.pipeline.experiment import Asked, SeedsResult, train_seeds
from widedeep.pipeline.past_runs import chosen_split, rows_to_score, typed_table
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import LoadedRecipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.scoring.labelled import Scores, score_labelled, score_only
from widedeep.scoring.scorer import Scorer

Load = Callable[[Sequence[str]], LoadedRecipe]
"""Gives the recipe with these overrides applied."""


@dataclass(frozen=True)
class Variant:
    """A kind of model, with the recipe's crosses or without."""

    kind: str
    crosses: bool
    result: SeedsResult
    """Its runs by seed, with means and deviations of their metrics."""
    differences: dict[str, Change]
    """Metric → this variant minus the whole, paired by row and by seed; see `change_over_seeds`."""

    @property
    def name(self) -> str:
        """The variant in words, such as `wide without crosses`."""
        if KINDS[self.kind].wide == "never":
            return self.kind
        return f"{self.kind} with crosses" if self.crosses else f"{self.kind} without crosses"


@dataclass(frozen=True)
class Ablation:
    """The result of an ablation."""

    variants: tuple[Variant, ...]
    """All variants; the whole comes last."""
    added: dict[str, dict[str, Change]]
    """Kind that takes crosses → metric → with crosses minus without.

    A kind that has a wide part only with crosses gets its linear part with them."""
    split: str
    rows: int
    """Number of rows that the variants were measured on."""
    grouped: bool
    """Whether errors are those of groups of rows."""


def ablate(
    load: Load, kinds: Sequence[str], work_dir: Path, reporter: Reporter, *, seeds: int, wait: bool = False
) -> Ablation:
    """Train each kind with and without crosses, as far as runs are missing, and compare all with the whole.

    The whole is the last kind, with crosses. The variant that is the recipe itself keeps its name, so that its runs
    count; other variants are named after it. They are measured on the test rows, else the valid rows. Raises UsageError
    for an unknown kind, if there is only one variant, and if no rows are held out.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--kinds {kind}: must be some of {', '.join(KINDS)}")
    planned = _planned(load, list(dict.fromkeys(kinds)), reporter)
    if len(planned) == 1:
        raise UsageError(
            f"--kinds {','.join(kinds)}: one model alone has nothing to be compared with: name another kind, or give "
            "the recipe crosses"
        )
    trained: list[tuple[str, bool, SeedsResult]] = []
    with Workspace(work_dir).shared(reporter, wait=wait):  # so that no run is cleaned away before it is compared
        for number, (kind, crosses, loaded) in enumerate(planned, start=1):
            reporter.part(loaded.recipe.name, number, len(planned))
            result = train_seeds(loaded, work_dir, reporter, seeds, Asked(resume=True, wait=wait))
            if not result.runs[0].metrics:
                raise UsageError(f"{loaded.title}: holds no test or valid rows out on which kinds could be compared")
            trained.append((kind, crosses, result))
        return _compared(trained, MeasuredRuns(work_dir, reporter, wait))


def _compared(trained: Sequence[tuple[str, bool, SeedsResult]], measured: "MeasuredRuns") -> Ablation:
    scores = [[measured.scores(run.run) for run in result.runs] for _, _, result in trained]
    rows = measured.rows
    assert rows is not None
    whole = [estimates(rows, seed_scores) for seed_scores in scores[-1]]
    if not whole[0]:
        raise DataError(f"the {measured.split} rows have no weight: no metric compares the kinds")
    variants: list[Variant] = []
    added: dict[str, dict[str, Change]] = {}
    previous = whole
    for (kind, crosses, result), variant_scores in zip(trained, scores, strict=True):
        # Figures are kept of two variants at a time: with their influences, they take far more memory than scores.
        figures = [estimates(rows, seed_scores) for seed_scores in variant_scores]
        if crosses and variants and variants[-1].kind == kind:
            added[kind] = _changes(figures, previous)
        variants.append(Variant(kind, crosses, result, _changes(figures, whole)))
        previous = figures
    return Ablation(tuple(variants), added, measured.split, len(rows.label), rows.group is not None)


def _planned(load: Load, kinds: Sequence[str], reporter: Reporter) -> list[tuple[str, bool, LoadedRecipe]]:
    """(kind, whether it has crosses, recipe) of every variant; the whole comes last."""
    base = load(()).recipe
    planned = []
    for kind in kinds:
        overrides = [f"model.kind={kind}", f"name={base.name}-{kind}"]
        full = load(overrides)
        if full.recipe.crosses:
            planned.append((kind, False, load([*overrides, "crosses=[]", f"name={base.name}-{kind}-no-crosses"])))
        if kind == base.model.kind:
            full = load(())
        planned.append((kind, bool(full.recipe.crosses), full))
    if not any(crosses for _, crosses, _ in planned):
        reporter.note("none of these recipes has crosses: the kinds are compared without")
    return planned


class MeasuredRuns:
    """Scores runs on the same rows, those of the first run: its test rows, else its valid rows."""

    def __init__(self, work_dir: Path, reporter: Reporter, wait: bool) -> None:
        self._work_dir, self._reporter, self._wait = work_dir, reporter, wait
        self.rows: LabelledRows | None = None
        self.split = ""

    def scores(self, path: Path) -> Scores:
        """The run's scores of the rows."""
        scorer = Scorer.load(path)
        typed_dir = typed_table(RunDirectory(path), scorer.recipe, self._work_dir, self._reporter, wait=self._wait)
        self.split = chosen_split(typed_dir, None)
        frames = rows_to_score(scorer, typed_dir, self.split)
        if self.rows is not None:
            return score_only(scorer, frames)
        scored = score_labelled(scorer, frames, {})
        self.rows = scored.rows(scorer)
        return scored.scores


def _changes(first: Sequence[dict[str, Estimate]], second: Sequence[dict[str, Estimate]]) -> dict[str, Change]:
    """Metric → first minus second, paired by seed; each sequence holds the figures of the seeds."""
    pairs = list(zip(first, second, strict=True))
    return {name: change_over_seeds([left[name].minus(right[name]) for left, right in pairs]) for name in first[0]}
