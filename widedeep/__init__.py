"""widedeep: Wide & Deep click-through-rate experiments on tabular data, on the command line and from Python.

What stands in `__all__` is imported when it is first used: `import widedeep` alone costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from widedeep import errors
    from widedeep.api.experiments import backtest, compare, discover, train
    from widedeep.api.recipes import bundled_recipes, load_recipe
    from widedeep.api.runs import Run, open_run
    from widedeep.reporting import Reporter

__version__ = "0.1.0"
__all__ = [
    "Reporter",
    "Run",
    "backtest",
    "bundled_recipes",
    "compare",
    "discover",
    "errors",
    "load_recipe",
    "open_run",
    "train",
]
_HOMES = {
    "Reporter": "widedeep.reporting",
    "Run": "widedeep.api.runs",
    "backtest": "widedeep.api.experiments",
    "bundled_recipes": "widedeep.api.recipes",
    "compare": "widedeep.api.experiments",
    "discover": "widedeep.api.experiments",
    "load_recipe": "widedeep.api.recipes",
    "open_run": "widedeep.api.runs",
    "train": "widedeep.api.experiments",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("widedeep.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
