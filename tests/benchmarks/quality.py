"""A table of results/quality.md by one command:

    python tests/benchmarks/quality.py TABLE --work DIR [--seeds N]

It finds crosses, trains every kind of model with and without them by `widedeep`, pairs the runs row by row, and writes what
it measured to results/quality.json and the file that people read, results/quality.md. DIR keeps the runs: an interrupted
table is taken up there, and other tables stand beside it. What each table is made of: tests/benchmarks/quality/TABLE.yaml.
"""

import argparse
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from machine import machine_facts
from quality_figures import measure, typed_dir
from quality_peer import train_lightgbm
from quality_report import report
from quality_runs import Runs, train_all
from quality_settings import FOLDER, TABLES, Table

from widedeep.files import write_json, write_text
from widedeep.scoring.scorer import Scorer

RESULTS = Path(__file__).parent / "results"


def make_table(table: Table, name: str, work: Path, seeds: int) -> dict[str, Any]:
    """Train what is missing and give everything that the report says of the table, as plain values."""
    runs = train_all(table, name, work / name, seeds)
    peer = None if table.lightgbm is None else _peer(table.lightgbm, runs, work, seeds)
    variants = [variant for variant in runs.variants if variant.name in runs.results]
    return {
        "title": table.title,
        "published": dict(table.published),
        "best_auc": table.best_auc,
        "pair": table.pair,
        "crosses": _crosses_told(runs),
        "settings": [f"{variant.name}: {' '.join(variant.overrides()[2:]) or '–'}" for variant in variants],
        **measure(table, runs, peer),
    }


def _peer(settings: Any, runs: Runs, work: Path, seeds: int) -> dict[str, Any]:
    path = runs.paths(runs.variants[0])[0]
    scorer = Scorer.load(path)
    typed = typed_dir(path, scorer, runs.work)
    return train_lightgbm(scorer.recipe, typed, settings, runs.work / "lightgbm", work, seeds)


def _crosses_told(runs: Runs) -> str:
    if not runs.crosses:
        return "none was found, and the recipe has none"
    found = [" x ".join(cross["columns"]) for cross in runs.found["crosses"]]
    own = [name for name in runs.crosses if name not in found]
    told = [f"found: {', '.join(found)}" if found else "none was found"]
    return "; ".join([*told, *([f"of the recipe: {', '.join(own)}"] if own else [])])


def main() -> None:
    """Measure one table and write both files anew; what they say of other tables stays."""
    asked = _asked()
    os.environ["WIDEDEEP_DATA"] = str(Path(os.environ.get("WIDEDEEP_DATA", "data")).resolve())
    made = make_table(Table.read(FOLDER / f"{asked.table}.yaml"), asked.table, asked.work.resolve(), asked.seeds)
    command = f"python tests/benchmarks/quality.py {asked.table} --work DIR --seeds {asked.seeds}"
    facts = {"date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", **machine_facts(), "command": f"`{command}`"}
    kept = RESULTS / "quality.json"
    measured = json.loads(kept.read_text()) if kept.exists() else {}
    measured[asked.table] = {**made, "facts": facts}
    write_json(kept, measured)
    write_text(RESULTS / "quality.md", report(measured))
    print(report({asked.table: measured[asked.table]}))


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one table of results/quality.md.")
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="keeps the runs")
    parser.add_argument("--seeds", type=int, default=3, metavar="N")
    return parser.parse_args()


if __name__ == "__main__":
    main()
