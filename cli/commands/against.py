"""`widedeep eval RUN --against RUN2`: two runs on the same rows, paired, and a verdict."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widedeep.api.runs import run_path
from widedeep.figures import figure

from .. import without_collecting
from ..console import ConsoleReporter, print_comparison, print_slices
from ..results import print_facts, print_json, print_sentences

if TYPE_CHECKING:
    from widedeep.comparison.against import Comparison
    from widedeep.evaluation.slices import Slice

_BESIDE = ("calibration", "ece", "mae", "r2")
"""Metrics that are shown for both runs, without their difference."""
_NAMES = {"first": "RUN", "second": "RUN2"}
_SHOWN_SLICES = 10


def show_comparison(
    run: str,
    against: str,
    files: Sequence[str],
    *,
    split: str | None,
    slices: Sequence[str],
    tables: Mapping[str, str],
    trust: bool,
    work: Path,
    wait: bool,
    as_json: bool,
) -> None:
    """Print how two runs differ: those that the arguments `run` and `against` name."""
    with without_collecting():
        from widedeep.comparison.against import compare_runs
        from widedeep.evaluation.verdict import holds_for, verdict

    reporter = ConsoleReporter()
    first, second = run_path(run, work), run_path(against, work)
    result = compare_runs(
        first,
        second,
        files,
        split=split,
        slices=slices,
        work_dir=work,
        reporter=reporter,
        tables=tables,
        trust=trust,
        wait=wait,
    )
    verdicts = [verdict(name, change, "RUN", "RUN2") for name, change in result.differences.items()]
    scope = holds_for(grouped=result.grouped)
    if as_json:
        print_json(_as_object(result, first, second) | {"verdict": "; ".join(verdicts), "holds_for": scope})
        return
    print_comparison(_rows(result))
    # Slices in which RUN is worse come first: they matter most to someone who compares a new run with an old one.
    shown = sorted(result.slices.worse, key=lambda part: part.worse)[:_SHOWN_SLICES]
    print_slices([_slice_cells(part) for part in shown])
    print_sentences(["", *verdicts, "", _slices_told(result), scope, ""])
    print_facts({f"{result.split or 'file'} rows": f"{result.rows:,}", "RUN": str(first), "RUN2": str(second)})


def _as_object(result: "Comparison", first: Path, second: Path) -> dict[str, Any]:
    from widedeep.evaluation.verdict import better

    slices = result.slices
    return {
        "metrics": result.first,
        "rows": result.rows,
        "split": result.split,
        "missing": result.missing,
        "unseen": result.unseen,
        "run": first,
        "against": {"run": second, "metrics": result.second},
        "differences": {
            name: {
                "value": change.value,
                "low": change.low,
                "high": change.high,
                "better": _NAMES.get(better(name, change) or ""),
            }
            for name, change in result.differences.items()
        },
        "by_group": result.grouped,
        "slices": {
            "columns": slices.columns,
            "looked_at": slices.looked_at,
            "too_small": slices.too_small,
            "worse": [_slice_object(part) for part in slices.worse],
        },
    }


def _slice_object(part: "Slice") -> dict[str, Any]:
    return {
        "column": part.column,
        "value": part.value,
        "rows": part.rows,
        "loss_difference": part.difference.value,
        "low": part.low,
        "high": part.high,
        "worse": _NAMES[part.worse],
    }


def _rows(result: "Comparison") -> list[dict[str, str]]:
    from widedeep.evaluation.formulas import metric_title
    from widedeep.evaluation.verdict import interval, signed

    rows = []
    for name in [*result.differences, *(name for name in _BESIDE if name in result.first)]:
        change = result.differences.get(name)
        rows.append(
            {
                "metric": metric_title(name),
                "RUN": figure(result.first[name]),
                "RUN2": figure(result.second[name]),
                "RUN - RUN2": "" if change is None else signed(change.value),
                "95% interval": "" if change is None else interval(change),
            }
        )
    return rows


def _slice_cells(part: "Slice") -> dict[str, str]:
    from widedeep.evaluation.verdict import signed

    return {
        "slice": f"{part.column}: {'–' if part.value is None else part.value}",
        "rows": f"{part.rows:,}",
        "worse": _NAMES[part.worse],
        "RUN - RUN2": signed(part.difference.value),
        "interval": f"{signed(part.low)} to {signed(part.high)}",
    }


def _slices_told(result: "Comparison") -> str:
    slices = result.slices
    if not slices.columns:
        return "slices: no categorical field has few values; --slice names columns to look at"
    of = f"values of {', '.join(slices.columns)}"
    if not slices.looked_at:
        return f"slices: none of the {of} has enough rows to be looked at"
    worse = {name: sum(part.worse == name for part in slices.worse) for name in _NAMES}
    where = (
        f"RUN is worse in {worse['first']:,}, RUN2 in {worse['second']:,}"
        if slices.worse
        else "neither is worse in any"
    )
    small = f"; {slices.too_small:,} more have too few rows" if slices.too_small else ""
    more = f"; --json tells all {len(slices.worse):,}" if len(slices.worse) > _SHOWN_SLICES else ""
    return f"slices: {where} of {slices.looked_at:,} {of}{small}{more}"
