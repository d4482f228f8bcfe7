"""Fits the plan as `fit.py` does, its passes spread over workers: each counts parts of the typed table.

What a worker has counted of a part lies in two files: texts and hashes, vocabulary after vocabulary. A vocabulary's
counts of all parts are then settled by one worker. Counts add up in any order, so that the plan is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from widedeep.features.fit import count_crosses, fit_by_passes, run_task
from widedeep.features.fit_numbers import NumericFit
from widedeep.features.fit_vocabularies import CountRule, CrossFit, SettledCounts, VocabularyFits, cross_key
from widedeep.features.plan import FeaturePlan
from widedeep.features.rare import RareCounts
from widedeep.features.vocabulary import SPILL_ENTRIES, ValueCounts
from widedeep.files import for_polars, temporary_directory, whole_file
from widedeep.ordered import in_threads
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter
from widedeep.table.parts import coded_part
from widedeep.workers import Workers

_TOGETHER = 1 << 20
"""Counted values that one worker settles, unless a single vocabulary has more."""
_BATCH = 1 << 14
"""Counted values of a record batch, the least that is read at a time."""
_Fitted = TypeVar("_Fitted")


@dataclass(frozen=True)
class _Counted:
    """Counts of a part for one vocabulary: rows of a file of the part."""

    path: Path
    start: int
    length: int


@dataclass(frozen=True)
class _Task:
    typed: Path
    number: int
    """The part of the train rows."""
    folder: Path
    features: FeatureSettings
    cut_by_crosses: frozenset[str]
    plan: FeaturePlan | None = None
    """Fitted fields without their vocabularies, where crosses are to be counted."""
    crosses: tuple[tuple[str, CrossSettings, dict[str, tuple[float, ...]]], ...] = ()
    """Name, settings and cut points of those that are to be counted."""
    columns: tuple[str, ...] | None = None
    """The typed columns that are read; None for all."""


@dataclass(frozen=True)
class _Settling:
    """Vocabularies that one worker settles: the rule of each, whether it holds texts, and its counts."""

    vocabularies: tuple[tuple[CountRule, bool, tuple[_Counted, ...]], ...]
    folder: Path
    spill_entries: int


def fit_plan_by_parts(
    features: FeatureSettings,
    crosses: Sequence[CrossSettings],
    typed: Path,
    heights: Sequence[int],
    *,
    workers: Workers,
    folder: Path,
    reporter: Reporter,
    rare: RareCounts,
) -> FeaturePlan:
    """The plan of `fit_plan` for the train rows of the typed table `typed`, whose parts have `heights` rows.

    `folder`, which the workers see, holds their counts meanwhile.
    """
    cut_by_crosses = frozenset(name for cross in crosses for name in cross.granularity)
    tasks = [_Task(typed, number, folder, features, cut_by_crosses) for number in range(len(heights))]

    def count_fields(numerics: Sequence[NumericFit], categoricals: VocabularyFits) -> None:
        rules = categoricals.rules()
        counted: dict[str, list[_Counted]] = {name: [] for name in rules}
        done = 0
        with reporter.work("fit fields", sum(heights), "rows") as meter:
            for number, (of_part, places) in workers.map(_fit_fields, tasks, heights):
                for numeric, other in zip(numerics, of_part, strict=True):
                    numeric.merge(other)
                for name, place in places.items():
                    counted[name].append(place)
                done += heights[number]
                meter.update(done)
        hold_texts = {name: not rule.finds_buckets for name, rule in rules.items()}
        share = SPILL_ENTRIES // max(1, len(rules))
        categoricals.settled = _settled(rules, hold_texts, counted, share, workers, folder)

    def count_all_crosses(plan: FeaturePlan, fits: Sequence[CrossFit]) -> None:
        to_count = {cross_key(fit.unfitted): fit for fit in fits if fit.counts is not None}
        # What is counted is the mix of hashes: vocabularies may be large and are not needed.
        light = replace(
            plan,
            categoricals=tuple(map(_without_values, plan.categoricals)),
            multi_valued=tuple(map(_without_values, plan.multi_valued)),
        )
        crosses = tuple((fit.unfitted.name, fit.cross, fit.unfitted.cuts) for fit in to_count.values())
        columns = plan.columns_of([fit.unfitted for fit in to_count.values()])
        of_crosses = [replace(task, plan=light, crosses=crosses, columns=columns) for task in tasks]
        counted: dict[str, list[_Counted]] = {name: [] for name in to_count}
        done = 0
        with reporter.work("fit crosses", sum(heights), "rows") as meter:
            for number, places in workers.map(_fit_crosses, of_crosses, heights):
                for name, place in places.items():
                    counted[name].append(place)
                done += heights[number]
                meter.update(done)
        rules = {name: fit.rule() for name, fit in to_count.items()}
        share = SPILL_ENTRIES // len(fits)
        for name, settled in _settled(rules, dict.fromkeys(rules, False), counted, share, workers, folder).items():
            to_count[name].settled = settled

    return fit_by_passes(features, crosses, count_fields, count_all_crosses, folder, reporter, rare)


def _without_values(field: _Fitted) -> _Fitted:
    return replace(field, vocabulary=field.vocabulary.clear())  # type: ignore[type-var, attr-defined]


# ------------------------------------------------------------------------------------------------- what a worker does


def _fit_fields(task: _Task) -> tuple[list[NumericFit], dict[str, _Counted]]:
    rows = coded_part(task.typed, "train", task.number)
    numerics = [NumericFit(field, task.cut_by_crosses) for field in task.features.all_numeric()]
    with temporary_directory(task.folder) as spill_dir:
        categoricals = VocabularyFits(task.features, spill_dir, RareCounts())
        tasks: list[Callable[[], None]] = [partial(numeric.add, rows) for numeric in numerics]
        in_threads(run_task, [*tasks, *categoricals.additions(rows)])
        return numerics, _written(categoricals.counts, task.folder / f"fields-{task.number:05d}")


def _fit_crosses(task: _Task) -> dict[str, _Counted]:
    assert task.plan is not None
    with temporary_directory(task.folder) as spill_dir:
        fits = [CrossFit(*cross, spill_dir, SPILL_ENTRIES, RareCounts()) for cross in task.crosses]
        count_crosses(task.plan, fits, coded_part(task.typed, "train", task.number, task.columns))
        counts = {cross_key(fit.unfitted): fit.counts for fit in fits if fit.counts is not None}
        return _written(counts, task.folder / f"crosses-{task.number:05d}")


def _written(counts: dict[str, ValueCounts], name: Path) -> dict[str, _Counted]:
    """Write the counts of a part into two files whose names begin with `name`; where those of each vocabulary lie."""
    places: dict[str, _Counted] = {}
    for ending, dtype in ((".texts", pl.String()), (".hashes", pl.UInt64())):
        path, frames, start = name.with_suffix(ending), [], 0
        for vocabulary, of_values in counts.items():
            if of_values.dtype == dtype:
                frames += (added := list(of_values.additions()))
                length = sum(map(len, added))
                if length:
                    places[vocabulary] = _Counted(path, start, length)
                start += length
        if frames:
            with whole_file(path) as temporary, temporary.open("wb") as file:
                pl.concat(frames).rechunk().write_ipc(file, compression="uncompressed", record_batch_size=_BATCH)
    return places


def _settled(
    rules: dict[str, CountRule],
    hold_texts: dict[str, bool],
    counted: dict[str, list[_Counted]],
    spill_entries: int,
    workers: Workers,
    folder: Path,
) -> dict[str, SettledCounts]:
    """Vocabulary, by its key → what its counts come to."""
    groups: list[list[str]] = []
    room = 0
    for name, places in counted.items():
        length = sum(place.length for place in places)
        if not groups or length > room:
            groups.append([])
            room = _TOGETHER
        groups[-1].append(name)
        room -= length
    tasks = [
        _Settling(tuple((rules[name], hold_texts[name], tuple(counted[name])) for name in group), folder, spill_entries)
        for group in groups
    ]
    return {
        name: settled
        for group, of_group in zip(groups, workers.in_order(_settle, tasks), strict=True)
        for name, settled in zip(group, of_group, strict=True)
    }


def _settle(task: _Settling) -> list[SettledCounts]:
    with temporary_directory(task.folder) as spill_dir:
        all_counts: list[ValueCounts] = []
        by_file: dict[Path, list[tuple[ValueCounts, _Counted]]] = {}
        for _, holds_texts, places in task.vocabularies:
            dtype = pl.String() if holds_texts else pl.UInt64()
            counts = ValueCounts(dtype, spill_dir, spill_entries=task.spill_entries)
            all_counts.append(counts)
            for place in places:
                by_file.setdefault(place.path, []).append((counts, place))
        for path, held in by_file.items():
            start, end = min(place.start for _, place in held), max(place.start + place.length for _, place in held)
            rows = pl.scan_ipc(for_polars(path), glob=False).slice(start, end - start).collect()
            for counts, place in held:
                counts.add_counted(rows.slice(place.start - start, place.length))
        rules = [rule for rule, _, _ in task.vocabularies]
        return [
            rule.settle(counts, pl.DataFrame(schema={"value": counts.dtype, "count": pl.Int64}))
            for rule, counts in zip(rules, all_counts, strict=True)
        ]
