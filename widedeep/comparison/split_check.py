"""Kinds of model ranked under several ways of splitting the rows: does the choice between them depend on the split?"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from widedeep.comparison.ablation import MeasuredRuns
from widedeep.comparison.run_table import RANKED_BY
from widedeep.errors import DataError, UsageError
from widedeep.evaluation.comparison import Change, Estimate, estimates
from widedeep.evaluation.formulas import metric_direction, metric_title
from widedeep.evaluation.verdict import better, signed, told
from widedeep.pipeline.experiment import Asked, train
from widedeep.pipeline.ingest_stage import ingest
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import LoadedRecipe
from widedeep.recipe.schema import ColumnSplit, KeySplit, RandomSplit, Recipe
from widedeep.reporting import Reporter

Load = Callable[[Sequence[str]], LoadedRecipe]
"""Gives the recipe with these overrides applied."""
Way = Literal["random", "time", "key"]


@dataclass(frozen=True)
class RankedKind:
    """A kind of model under one split."""

    kind: str
    run: Path
    metrics: dict[str, Change]
    """Metric → figure on the held-out rows, with the error of these rows."""
    behind: dict[str, Change]
    """Metric → this kind minus the best one, paired by row; all 0 for the best one."""


@dataclass(frozen=True)
class Ranking:
    """The kinds under one split, best first."""

    way: Way
    kinds: tuple[RankedKind, ...]
    rows: int
    """Number of rows that they were measured on."""
    grouped: bool
    """Whether errors are those of groups of rows."""

    def told(self, metric: str) -> str:
        """The kinds in a line, `a > b`, with `≈` before one that cannot be told from the best."""
        best, *others = self.kinds
        marks = [f" {'≈' if better(metric, kind.behind[metric]) is None else '>'} {kind.kind}" for kind in others]
        return best.kind + "".join(marks)


@dataclass(frozen=True)
class SplitCheck:
    """The rankings under each split."""

    metric: str
    """What ranks the kinds."""
    key: str | None
    """The column whose values a split by key keeps together."""
    rankings: tuple[Ranking, ...]
    trust: Way
    """The split whose ranking is to be trusted."""
    verdict: str
    """Sentences on which split to trust, and what another one would have said."""

    def to_json(self) -> dict[str, Any]:
        """As plain values; a change as its value and the ends of its 95% interval."""
        return {
            "metric": self.metric,
            "key": self.key,
            "trust": self.trust,
            "verdict": self.verdict,
            "splits": [
                {
                    "split": ranking.way,
                    "rows": ranking.rows,
                    "by_group": ranking.grouped,
                    "kinds": [
                        {
                            "kind": kind.kind,
                            "run": kind.run,
                            "metrics": _ends(kind.metrics),
                            "behind": _ends(kind.behind),
                        }
                        for kind in ranking.kinds
                    ],
                }
                for ranking in self.rankings
            ],
        }


def _ends(changes: Mapping[str, Change]) -> dict[str, dict[str, float]]:
    return {name: {"value": change.value, "low": change.low, "high": change.high} for name, change in changes.items()}


def check_splits(
    load: Load, kinds: Sequence[str], work_dir: Path, reporter: Reporter, *, key: str | None = None, wait: bool = False
) -> SplitCheck:
    """Train each kind under a random split, one by time where the recipe names `data.time`, and one by `key` (default:
    the recipe's `data.group`), as far as runs are missing, and rank the kinds under each on its test rows.

    Raises UsageError if there is nothing to compare: one kind, one split, or rows that are split by files or a column.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--kinds {kind}: must be some of {', '.join(KINDS)}")
    kinds = list(dict.fromkeys(kinds))
    if len(kinds) < 2:
        raise UsageError(f"--kinds {','.join(kinds)}: a ranking needs two kinds at least")
    base = load(()).recipe
    key = key or _key_of(base)
    ways = _ways(base, key)
    planned = {way: {kind: load(_overrides(base, way, key, kind)) for kind in kinds} for way in ways}
    with Workspace(work_dir).shared(reporter, wait=wait):  # so that no run is cleaned away before it is measured
        for loaded_kinds in planned.values():  # what a split needs of the data is told before any training
            ingest(loaded_kinds[kinds[0]], work_dir, reporter, wait=wait)
        rankings, number = [], 0
        for way, loaded_kinds in planned.items():
            measured, runs = MeasuredRuns(work_dir, reporter, wait), []
            for kind, loaded in loaded_kinds.items():
                number += 1
                reporter.part(f"{way} split, {kind}", number, len(ways) * len(kinds))
                run = train(loaded, work_dir, reporter, Asked(again=False, wait=wait)).run
                runs.append((kind, run, measured.scores(run)))
            assert measured.rows is not None
            figures = [estimates(measured.rows, scores) for _, _, scores in runs]
            metric = RANKED_BY[base.data.label.kind]
            if any(metric not in of_kind for of_kind in figures):
                raise DataError(
                    f"the {measured.split} rows of the {way} split have one class only: nothing ranks the kinds"
                )
            ranked = _ranked([(kind, run) for kind, run, _ in runs], figures, metric)
            rankings.append(Ranking(way, ranked, len(measured.rows.label), measured.rows.group is not None))
    trust: Way = "time" if "time" in ways else "key"
    return SplitCheck(metric, key, tuple(rankings), trust, _verdict(metric, rankings, trust, key))


def _key_of(recipe: Recipe) -> str | None:
    return recipe.data.split.key if isinstance(recipe.data.split, KeySplit) else recipe.data.group


def _ways(recipe: Recipe, key: str | None) -> list[Way]:
    data = recipe.data
    if data.valid is not None or data.test is not None or isinstance(data.split, ColumnSplit):
        raise UsageError(
            "split-check draws valid and test rows from data.train in several ways: a recipe whose rows are split by "
            "files or by a column has one split only"
        )
    ways: list[Way] = ["random"]
    ways += ["time"] if data.time is not None else []
    ways += ["key"] if key is not None else []
    if len(ways) == 1:
        raise UsageError(
            "split-check compares a random split with one by time or by key: name the column of times in data.time, or "
            "one whose values stay together, such as a user id, by --key"
        )
    return ways


def _overrides(base: Recipe, way: Way, key: str | None, kind: str) -> list[str]:
    split = base.data.split
    shares = {part: getattr(split, part, 0.1) or 0.1 for part in ("valid", "test")}
    seed = {"seed": split.seed} if isinstance(split, RandomSplit | KeySplit) and way != "time" else {}
    name = json.dumps(key, ensure_ascii=False).replace("${", "$${")  # as YAML reads it
    settings = {"kind": way, **shares, **seed, **({"key": name} if way == "key" else {})}
    text = ", ".join(f"{name}: {value}" for name, value in settings.items())
    return [f"model.kind={kind}", f"data.split={{{text}}}", f"name={base.name}-{way}-split-{kind}"]


def _ranked(
    runs: Sequence[tuple[str, Path]], figures: Sequence[dict[str, Estimate]], metric: str
) -> tuple[RankedKind, ...]:
    sign = -1.0 if metric_direction(metric) == "max" else 1.0
    best, *_ = order = sorted(range(len(runs)), key=lambda place: sign * figures[place][metric].value)
    return tuple(
        RankedKind(
            *runs[place],
            {name: estimate.change() for name, estimate in figures[place].items()},
            {name: figures[place][name].minus(figures[best][name]).change() for name in figures[place]},
        )
        for place in order
    )


def _verdict(metric: str, rankings: Sequence[Ranking], trust: Way, key: str | None) -> str:
    """Which ranking to trust and why, whether another would choose otherwise, and by how much its figures flatter."""
    title = metric_title(metric)
    trusted = next(ranking for ranking in rankings if ranking.way == trust)
    best = trusted.kinds[0]
    if trust == "time":
        sentences = [
            "Trust the split by time: as its test rows, rows to be scored come after those that a model was trained on"
        ]
    else:
        sentences = [
            f"Trust the split by {key} if rows to be scored have new values of {key}, as its test rows do; if most of "
            "the values come back, trust the random split. With data.time, a split by time would tell which it is"
        ]
    for ranking in rankings:
        if ranking is trusted:
            continue
        chosen = ranking.kinds[0]
        there = next(kind for kind in trusted.kinds if kind.kind == chosen.kind).behind[metric]
        choice = f"The {ranking.way} split would choose {chosen.kind}"
        if chosen.kind == best.kind:
            sentences.append(f"The {ranking.way} split chooses {best.kind} too")
        elif better(metric, there) is None:
            sentences.append(f"{choice}, which the {trust} split cannot tell from {best.kind}")
        else:
            by_how_much = f"{title} differs by {told(there)}"
            sentences.append(f"{choice}, which the {trust} split finds worse than {best.kind}: {by_how_much}")
        same = next(kind for kind in ranking.kinds if kind.kind == best.kind).metrics[metric]
        here = best.metrics[metric]
        # Other rows, so that the errors add.
        gap = Change(same.value - here.value, math.hypot(same.error, here.error))
        if better(metric, gap) == "first":
            sentences.append(
                f"It flatters {best.kind}: its {title} there is {figure_of(same)}, and {figure_of(here)} under the "
                f"{trust} split ({signed(gap.value)})"
            )
    return ". ".join(sentences) + "."


def figure_of(change: Change) -> str:
    """A figure with half its 95% interval: `0.7712 ±0.0112`."""
    return f"{change.value:.4f}" + ("" if math.isinf(change.error) else f" ±{change.high - change.value:.4f}")
