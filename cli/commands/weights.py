"""`widedeep crosses RUN --weights`: the strongest wide weights of a run, with their real values."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from widedeep.api.runs import run_path
from widedeep.figures import figure
from widedeep.runs import RunDirectory

from .. import without_collecting
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.scoring.weights import WideWeight

DEFAULT_TOP = 20
_MISSING = "missing"


def show_weights(
    run: str, work: Path, *, top: int | None, min_support: int | None, trust: bool, wait: bool, as_json: bool
) -> None:
    """Print the strongest weights of the run that the argument `run` names."""
    from ..console import ConsoleReporter, print_weights  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    directory = RunDirectory(run_path(run, work), trust)
    with without_collecting():
        from widedeep.pipeline.weights import strongest_weights_of

    result = strongest_weights_of(directory, work, reporter, top=top or DEFAULT_TOP, min_support=min_support, wait=wait)
    if as_json:
        weights = [asdict(weight) for weight in result.weights]
        facts = {"rows": result.rows, "mean": result.mean, "min_support": result.min_support, "run": directory.path}
        print_json({"weights": weights, **facts})
        return
    print_weights([_cells(weight, result.mean) for weight in result.weights])
    print_facts(
        {
            "sorted by": "magnitude of the weight",
            "support": f"at least {result.min_support:,} of {result.rows:,} train rows",
            "mean label": figure(result.mean),
            "run": str(directory.path),
        }
    )


def _cells(weight: "WideWeight", overall: float) -> dict[str, str]:
    strength = (
        {"lift": f"{weight.lift:.2f}"} if weight.lift is not None else {"mean diff": f"{weight.mean - overall:+.4g}"}
    )
    return {
        "weight": f"{weight.weight:+.4f}",
        **strength,
        "support": f"{weight.support:,}",
        "values": _what(weight),
    }


def _what(weight: "WideWeight") -> str:
    """The values as text; a value that could be misread is written as a JSON string."""
    if weight.stands_for == "unknown":
        return f"{weight.column}: unknown or rare"
    if weight.values is None:
        return f"{weight.column}: gone from the data files"
    text = ", ".join(_told(field, value) for field, value in weight.values.items())
    if weight.shared_by is None or weight.shared_by == 1:
        return text
    return f"{text} ({weight.share:.0%} of its rows; {weight.shared_by:,} values share it)"


def _told(field: str, value: str | None) -> str:
    if value is None:
        return f"{field}: {_MISSING}"
    plain = value.isprintable() and value == value.strip() and '"' not in value and value != _MISSING
    return f"{field}: {value if plain else json.dumps(value)}"
