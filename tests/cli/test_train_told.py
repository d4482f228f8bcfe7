"""What `train` says while it goes on and at its end: a line an epoch in a pipe, the best epoch, why it stopped."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from widedeep.pipeline.experiment import train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Meter, Reporter

CommandLine = Callable[..., tuple[int, str, str]]
LINE = re.compile(
    r"epoch (\d)/(\d+)  train loss 0\.\d{4}  valid log loss 0\.\d{4} AUC 0\.\d{4} calibration \d\.\d{4}  [\d,]+ rows/s(  best)?"
)


def test_a_pipe_gets_one_line_an_epoch_and_the_end_names_the_best(project: Path, widedeep: CommandLine) -> None:
    code, out, err = widedeep("train", "small.yaml")
    assert code == 0
    lines = [LINE.fullmatch(line) for line in err.splitlines() if line.startswith("epoch")]
    assert [line and line.group(1, 2) for line in lines] == [("1", "2"), ("2", "2")]
    best = max(number for number, line in enumerate(lines, start=1) if line and line.group(3))
    assert f"epochs      best epoch {best} of 2; all 2 epochs done\n" in out


def test_json_and_metrics_name_the_best_epoch_and_why_training_stopped(chance: Path, widedeep: CommandLine) -> None:
    stalls = ["--set", "training.early_stopping.patience=1", "--set", "training.epochs=30"]
    code, out, err = widedeep("train", "small.yaml", "--json", "--quiet", *stalls)
    assert code == 0
    assert "epoch" not in re.sub(r"training\.epochs|warning: .*", "", err)
    result = json.loads(out)
    assert result["stopped"] == "stopped: no better valid log loss for 1 epoch"
    assert result["best_epoch"] == result["epochs"] - 1
    facts = json.loads((Path(result["run"]) / "metrics.json").read_text())
    assert {name: facts[name] for name in ("best_epoch", "epochs", "stopped")} == {
        name: result[name] for name in ("best_epoch", "epochs", "stopped")
    }


def test_seeds_name_each_best_epoch(project: Path, widedeep: CommandLine) -> None:
    _, out, _ = widedeep("train", "small.yaml", "--seeds", "2", "--set", "training.epochs=1")
    assert "best epochs  1 of 1, 1 of 1" in out


class Ends(Reporter):
    """Keeps what training says of its end, and the epochs between."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    @contextmanager
    def work(self, title: str, total: float | None, unit: str) -> Iterator[Meter]:
        meter = Meter()
        meter.expect = lambda total, how: self.told.append((how, total))  # type: ignore[method-assign]
        yield meter

    def epoch(self, figures: Mapping[str, float | int | str | None]) -> None:
        self.told.append(bool(figures["best"]))


@pytest.mark.parametrize("patience", [2, None])
def test_the_end_is_all_epochs_at_most_until_the_metric_stalls_and_then_what_patience_leaves(
    chance: Path, patience: int | None
) -> None:
    ends, epochs = Ends(), 12 if patience else 2
    overrides = [f"training.early_stopping.patience={patience or 'null'}", f"training.epochs={epochs}"]
    loaded = load_recipe(chance / "small.yaml", overrides)
    result = train(loaded, chance, ends)
    rows = json.loads((result.run / "metrics.json").read_text())["rows"]["train"]
    if patience is None:
        assert [type(one) for one in ends.told] == [bool, bool]
        return
    expected: list[Any] = [("at most", epochs * rows)]
    waited = 0
    bests = [one for one in ends.told if isinstance(one, bool)]
    for epoch, best in enumerate(bests, start=1):
        waited = 0 if best else waited + 1
        end = ("at most", epochs * rows) if best else ("likely", min(epochs, epoch + 2 - waited) * rows)
        expected += [best, end]
    assert ends.told == expected
    assert False in bests
