"""The runs behind a table of results/quality.md: recipes, crosses found, and training by the command line, taken up again
where they were left."""

import json
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click_log import WIDEDEEP
from quality_settings import FOLDER, Table, Variant

from widedeep.api.recipes import load_recipe as find_recipe
from widedeep.files import write_json, write_text
from widedeep.recipe.dump import dump_recipe


@dataclass(frozen=True)
class Runs:
    """Everything of one table that was trained."""

    work: Path
    recipe: Path
    variants: list[Variant]
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Variant's name → what `widedeep train --seeds N --json` printed."""
    found: dict[str, Any] = field(default_factory=dict)
    """What `widedeep crosses --discover --json` printed."""
    crosses: list[str] = field(default_factory=list)
    """All crosses of the variants with crosses, in words."""

    def paths(self, variant: Variant) -> list[Path]:
        """Its run directories by seed."""
        return [Path(run["run"]) for run in self.results[variant.name]["runs"]]


def train_all(table: Table, name: str, work: Path, seeds: int) -> Runs:
    """Find crosses and train every variant; those with crosses beside those without, each side on half of the cores.

    What `work` holds finished already, for equal commands, is taken from there.
    """
    work.mkdir(parents=True, exist_ok=True)
    recipe, crossed = work / "recipe.yaml", work / "crosses.yaml"
    given = FOLDER.parent / table.recipe
    overrides = [] if table.own_crosses else ["crosses=[]"]
    loaded = find_recipe(str(given) if given.is_file() else table.recipe, set=overrides)
    write_text(recipe, dump_recipe(loaded.recipe))
    runs = Runs(work, recipe, table.variants(name))

    def without() -> None:
        for variant in runs.variants:
            if not variant.crosses:
                runs.results[variant.name] = _train(variant, recipe, work / "without", seeds, ["crosses=[]"])

    def with_crosses() -> None:
        options = ["--discover", "--write", crossed, "--force"]
        runs.found.update(_kept(work / "found.json", ["crosses", recipe, *options, "--work", work / "with"]))
        runs.crosses.extend(" x ".join(cross.fields) for cross in find_recipe(crossed).recipe.crosses)
        for variant in runs.variants:
            if variant.crosses and runs.crosses:
                runs.results[variant.name] = _train(variant, crossed, work / "with", seeds, [])

    with ThreadPoolExecutor(2) as pool:
        for side in [pool.submit(without), pool.submit(with_crosses)]:
            side.result()
    return runs


def _train(variant: Variant, recipe: Path, work: Path, seeds: int, more: Sequence[str]) -> dict[str, Any]:
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    overrides = [*variant.overrides(), f"training.threads={threads}", *more]
    options = [part for override in overrides for part in ("--set", override)]
    command = ["train", recipe, "--work", work, "--seeds", str(seeds), "--resume", *options]
    return _kept(work.parent / "done" / f"{variant.name}.json", command)


def _kept(path: Path, arguments: Sequence[str | Path]) -> dict[str, Any]:
    """What the command prints with --json, which `path` keeps. Raises RuntimeError with what it complained of."""
    command = [WIDEDEEP, *map(str, arguments), "--json"]
    if path.exists() and (kept := json.loads(path.read_text()))["command"] == [*map(str, command)]:
        result: dict[str, Any] = kept["result"]
        return result
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{done.stderr}")
    result = json.loads(done.stdout)
    path.parent.mkdir(exist_ok=True)
    write_json(path, {"command": [*map(str, command)], "result": result})
    return result
