"""Training meets unknown values as serving will: what `train` estimates, tells, writes down and changes by it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from heard import Heard

from widedeep.errors import Interrupted
from widedeep.pipeline.experiment import Asked, train
from widedeep.recipe.load import load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory
from widedeep.training.feed import HostFeed
from widedeep.training.interrupts import InterruptWatch

RECIPE = """\
name: growing
data:
  train: log.csv
  label: click
  time: time
  split: {kind: time, valid: 0.1, test: 0.2}
features:
  categorical: [user, device, {column: page, buckets: 20}]
  multi_valued: [{column: tags, separator: "|"}]
crosses:
  - [user, device]
  - [tags, user]
model:
  deep: {hidden: [8], dropout: 0.1}
training: {epochs: 2, batch_size: 64, threads: 1}
"""
ROWS = 1500


@pytest.fixture
def growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log whose users come and go."""
    draw = np.random.default_rng(0)
    time = np.arange(ROWS)
    pl.DataFrame(
        {
            "time": time,
            "user": [f"u{u}" for u in (time // 30 + draw.integers(0, 4, ROWS))],
            "device": draw.integers(0, 3, ROWS).astype(str),
            "page": draw.integers(0, 9, ROWS),
            "tags": ["|".join(draw.choice(list("abc"), draw.integers(1, 3))) for _ in time],
            "click": (draw.random(ROWS) < 0.3).astype(int),
        }
    ).write_csv(tmp_path / "log.csv")
    (tmp_path / "growing.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def trained(project: Path, *settings: str, reporter: Reporter | None = None, resume: bool = False) -> RunDirectory:
    loaded = load_recipe(project / "growing.yaml", list(settings))
    return RunDirectory(train(loaded, project, reporter or Reporter(), Asked(resume=resume)).run)


def unknown_values(run: RunDirectory) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(run.metrics_path.read_text())["unknown_values"]
    return values


def test_train_says_which_fields_will_hold_new_values_and_writes_down_what_it_showed(growing: Path) -> None:
    reporter = Heard()
    run = trained(growing, reporter=reporter)
    log = pl.read_csv(growing / "log.csv").head(ROWS * 7 // 10)
    early, late = log.head(len(log) * 8 // 10), log.tail(len(log) * 2 // 10)
    often = early["user"].value_counts().filter(pl.col("count") >= 2)["user"]
    new = float((~late["user"].is_in(often.implode())).mean())  # type: ignore[arg-type]
    found = unknown_values(run)
    assert set(found) == {"user", "device", "tags"}
    assert found["user"]["expected"] == pytest.approx(new)
    assert found["user"]["by"] == "time"
    assert found["user"]["shown"] == 0.05
    assert found["device"]["expected"] == found["device"]["shown"] == 0
    told = [note for note in reporter.notes if "will be unknown" in note]
    assert told == [
        f"user: about {new:.0%} of the values to score will be unknown (later train rows against earlier ones); "
        "training shows 5.0% of the known ones as unknown to learn from"
    ]


def test_valid_and_test_rows_do_not_change_the_estimate(growing: Path) -> None:
    before = unknown_values(trained(growing))
    log = pl.read_csv(growing / "log.csv")
    later = pl.col("time") >= ROWS * 7 // 10
    user = pl.when(later).then(pl.lit("nobody") + pl.col("time").cast(pl.String)).otherwise("user")
    log.with_columns(user.alias("user")).write_csv(growing / "log.csv")
    assert unknown_values(trained(growing)) == before


def test_zero_trains_on_the_rows_as_they_are_encoded(growing: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = HostFeed.batches

    def watched(self: HostFeed, stream: Any) -> Any:
        for batch in original(self, stream):
            seen.append(int((batch.indices[0] == 1).sum()))
            yield batch

    monkeypatch.setattr(HostFeed, "batches", watched)
    share = unknown_values(trained(growing, "training.unknown_share=0"))["user"]["unknown"]
    rows = ROWS * 7 // 10
    assert sum(seen) == 2 * round(share * rows)
    seen.clear()
    shares = unknown_values(trained(growing, "training.unknown_share=0.5"))["user"]
    assert sum(seen) / (2 * rows) == pytest.approx(0.5, abs=0.05)
    assert shares["unknown"] + shares["shown"] * (1 - shares["unknown"]) == pytest.approx(0.5)


@pytest.mark.parametrize("crosses", ["out_of_fold", "gradient"])
def test_interrupted_in_an_epoch_and_resumed_it_ends_in_the_same_weights(
    crosses: str, growing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = (f"model.wide.crosses={crosses}", "training.unknown_share=0.4")
    whole = trained(growing, *settings)
    plain = trained(growing, settings[0], "training.unknown_share=0")
    original, steps = HostFeed.batches, 0

    def interrupted(self: HostFeed, stream: Any) -> Any:
        nonlocal steps
        for batch in original(self, stream):
            steps += 1
            if steps == 23:
                watches[-1].received = 2
            yield batch

    watches: list[InterruptWatch] = []
    entered = InterruptWatch.__enter__

    def watching(self: InterruptWatch) -> InterruptWatch:
        watches.append(self)
        return entered(self)

    monkeypatch.setattr(HostFeed, "batches", interrupted)
    monkeypatch.setattr(InterruptWatch, "__enter__", watching)
    other = ("name=other", *settings)
    with pytest.raises(Interrupted):
        trained(growing, *other)
    resumed = trained(growing, *other, resume=True)
    assert resumed.best_path.read_bytes() == whole.best_path.read_bytes()
    assert resumed.last_path.read_bytes() == whole.last_path.read_bytes()
    assert plain.best_path.read_bytes() != whole.best_path.read_bytes()
