"""What the scripts that measure on many drawn logs share: how a log is drawn, and how logs are measured one after another."""

import argparse
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter
from widedeep.synth.criteo import LABEL_RATE, Planting
from widedeep.synth.sample_log import write_criteo_log, write_sample_log

NOTHING = Planting(crosses=0, low_rank=0)
"""Main effects only."""


@dataclass(frozen=True)
class Drawing:
    """A log of Criteo's shape, or a click log where `new_users` is given."""

    rows: int
    seed: int
    planting: Planting = field(default_factory=Planting)
    rate: float = LABEL_RATE
    lift: float = 1.0
    new_users: float | None = None

    def write(self, folder: Path) -> None:
        """Write the log, its truth and its recipe into the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        labels = {"rate": self.rate, "lift": self.lift}
        if self.new_users is None:
            write_criteo_log(folder, self.rows, self.seed, self.planting, Reporter(), **labels)
        else:
            write_sample_log(folder, self.rows, self.seed, Reporter(), **labels, new_users=self.new_users)


@dataclass(frozen=True)
class Place:
    """Where one log and all that is made of it lie."""

    logs: Path
    name: str
    drawing: Drawing

    @property
    def folder(self) -> Path:
        """The log, its truth and its recipe."""
        return self.logs / self.name

    @property
    def work(self) -> Path:
        """Stages and runs: of each log apart, so that two processes do not meet."""
        return self.logs / "work" / self.name

    @property
    def truth(self) -> dict[str, Any]:
        """What was planted, of a log that is drawn."""
        truth: dict[str, Any] = json.loads((self.folder / "truth.json").read_text())
        return truth

    def recipe(self, *overrides: str) -> LoadedRecipe:
        """The recipe beside the log, which is drawn where it is missing."""
        if not any(self._data()):
            self.drawing.write(self.folder)
        return load_recipe(self.folder / "recipe.yaml", overrides)

    def clear(self) -> None:
        """Remove what is big: the log itself, stages and runs."""
        shutil.rmtree(self.work, ignore_errors=True)
        for path in self._data():
            path.unlink()

    def _data(self) -> list[Path]:
        return [path for name in ("log.parquet", "log.csv") if (path := self.folder / name).exists()]


Measure = Callable[[Place], dict[str, Any]]
Parts = Mapping[str, tuple[Measure, Mapping[str, Drawing]]]
"""Part → what measures each of its logs, and its logs by name."""


def measure_all(description: str, parts: Parts, arguments: list[str] | None = None) -> None:
    """The command line of a script: measure the logs of the parts asked for, one row of figures each, and keep what is done."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("logs", type=Path, metavar="LOGS", help="folder of the drawn logs")
    parser.add_argument("result", type=Path, metavar="RESULT.json", help="rows of figures; logs in it are done")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; all by default")
    parser.add_argument("--only", type=_share, default=(0, 1), metavar="I/N", help="logs I, I + N, … from 0, of a part")
    parser.add_argument("--keep", action="store_true", help="keep logs, stages and runs when they are measured")
    given = parser.parse_args(arguments)
    if unknown := set(given.parts) - set(parts):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(parts)}")
    rows: list[dict[str, Any]] = json.loads(given.result.read_text()) if given.result.exists() else []
    done = {row["log"] for row in rows}
    first, step = given.only
    for part in given.parts or parts:
        measure, drawings = parts[part]
        for name, drawing in list(drawings.items())[first::step]:
            if name not in done:
                place = Place(given.logs, name, drawing)
                rows.append({"log": name, **measure(place)})
                print(json.dumps(rows[-1]), flush=True)
                given.result.write_text(json.dumps(rows, indent=1))
                if not given.keep:
                    place.clear()


def _share(text: str) -> tuple[int, int]:
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and int(first) < int(step)):
        raise argparse.ArgumentTypeError(f"{text!r}: two numbers I/N with I from 0 to N - 1 are wanted")
    return int(first), int(step)
