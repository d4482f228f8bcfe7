"""`widedeep backtest`: every step is scored before any model learns of it; what is done is not done again."""

import csv
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import log_loss, roc_auc_score

import widedeep as wd
from widedeep.comparison import backtest as module
from widedeep.comparison.backtest import Backtest, backtest
from widedeep.errors import DataError, Interrupted, UsageError
from widedeep.features.targets import LABEL_COLUMN
from widedeep.figures import figure
from widedeep.pipeline import steps as steps_module
from widedeep.pipeline.experiment import TrainResult, train
from widedeep.pipeline.steps import steps_stage
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import LoadedRecipe, load_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]
DAY = 86_400.0
RECIPE = """\
name: days
data:
  train: log.csv
  label: click
  time: {column: time, format: epoch}
features:
  categorical: [user, shape]
crosses: [[user, shape]]
model:
  embeddings: {dim: 4}
  deep: {hidden: [8]}
training:
  epochs: 4
  batch_size: 32
  deep: {learning_rate: 0.02}
  threads: 1
"""


def write_log(path: Path, days: list[int], rows: int = 260) -> None:
    """Shuffled rows of these days. Every second user clicks often; each day three users come and three go."""
    draw = random.Random(8)
    lines = []
    for day in days:
        for _ in range(rows):
            user, shape = draw.randrange(3 * day, 3 * day + 12), draw.choice(["round", "flat"])
            clicked = int(draw.random() < (0.75 if user % 2 else 0.2))
            lines.append([day * int(DAY) + draw.randrange(int(DAY)), f"u{user}", shape, clicked])
    draw.shuffle(lines)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["time", "user", "shape", "click"], *lines])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of five days, of which one has no rows."""
    folder = tmp_path_factory.mktemp("days")
    write_log(folder / "log.csv", [0, 1, 2, 4, 5])
    (folder / "days.yaml").write_text(RECIPE)
    return folder


def run_backtest(folder: Path, **settings: object) -> Backtest:
    loaded = load_recipe(folder / "days.yaml")
    return backtest(loaded, folder / "work", Reporter(), step=DAY, **settings)  # type: ignore[arg-type]


@pytest.fixture
def result(folder: Path) -> Backtest:
    return run_backtest(folder)


def test_steps_hold_the_rows_of_their_time_and_all_rows_once(folder: Path) -> None:
    loaded, workspace = load_recipe(folder / "days.yaml"), Workspace(folder / "work")
    steps = steps_stage(loaded, DAY, workspace, Reporter())
    assert [step.start / DAY for step in steps] == [0, 1, 2, 4, 5]
    log = pl.read_csv(folder / "log.csv", infer_schema=False)
    for step in steps:
        rows = pl.concat(pl.read_parquet(file) for file in step.files)
        of_day = log.filter(pl.col("time").cast(pl.Float64).is_between(step.start, step.start + DAY, closed="left"))
        assert rows.select(log.columns).equals(of_day)
        assert step.rows == len(rows)


def test_figures_are_those_of_scikit_learn_on_all_rows_after_the_first_step(folder: Path, result: Backtest) -> None:
    assert [step.start / DAY for step in result.steps] == [1, 2, 4, 5]
    assert [step.rows for step in result.steps] == [260] * 4
    scored = {path: pl.read_ipc(path) for path in folder.glob("work/stages/scored/*/scores.arrow")}
    # All ways share the first model, which scores its step once; the frozen one and the others then part.
    assert len(scored) == 1 + 3 * 3
    known = [(log_loss(frame[LABEL_COLUMN], frame["score"]), frame) for frame in scored.values()]
    for step in result.steps:
        for figures in step.figures.values():
            loss, frame = min(known, key=lambda pair: abs(pair[0] - figures["log_loss"].value))
            assert figures["log_loss"].value == pytest.approx(loss, abs=1e-6)
            assert figures["auc"].value == pytest.approx(roc_auc_score(frame[LABEL_COLUMN], frame["score"]))
            assert figures["log_loss"].low < loss < figures["log_loss"].high
    assert set(result.differences) == {("cold", "frozen"), ("warm", "frozen"), ("warm", "cold")}
    for (one, other), changes in result.differences.items():
        difference = result.overall[one]["log_loss"].value - result.overall[other]["log_loss"].value
        assert changes["log_loss"].value == pytest.approx(difference)


def test_no_model_has_seen_the_rows_that_it_scores(folder: Path, result: Backtest) -> None:
    runs = [RunDirectory(path) for path in folder.glob("work/runs/days-backtest/*") if not path.is_symlink()]
    trained = {path.path.name: set(json.loads((path.path / "metrics.json").read_text())["rows"]) for path in runs}
    assert len(runs) == 1 + 3 + 3
    assert all(splits == {"train", "valid"} for splits in trained.values())
    chains = sorted(len(run.manifest()["from"]["ancestors"]) for run in runs if "from" in run.manifest())
    assert chains == [0, 1, 2]
    cold = [sum(run.facts()["rows"].values()) for run in runs if "from" not in run.manifest()]
    warm = [sum(run.facts()["rows"].values()) for run in runs if "from" in run.manifest()]
    assert sorted(cold) == [260, 520, 780, 1040]
    assert warm == [260] * 3


def test_models_that_learn_on_beat_the_one_left_alone_where_the_log_moves(result: Backtest) -> None:
    for way in ("cold", "warm"):
        assert result.differences[way, "frozen"]["log_loss"].high < 0.0  # type: ignore[index]


def test_what_is_finished_is_not_done_again(folder: Path, result: Backtest, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("scored again")

    monkeypatch.setattr(module, "_scored", refused)
    before = {path.name for path in folder.glob("work/runs/days-backtest/*")}
    again = run_backtest(folder)
    assert again == result
    assert {path.name for path in folder.glob("work/runs/days-backtest/*")} == before


def test_interrupted_and_started_again_it_ends_in_the_same_figures(
    folder: Path, result: Backtest, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = 0

    def interrupted(*arguments: object, **settings: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise Interrupted(2, "interrupted")
        return train(*arguments, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "train", interrupted)
    loaded = load_recipe(folder / "days.yaml")
    with pytest.raises(Interrupted):
        backtest(loaded, folder / "other", Reporter(), step=DAY)
    monkeypatch.undo()
    again = backtest(loaded, folder / "other", Reporter(), step=DAY)
    assert (again.steps, again.overall, again.differences) == (result.steps, result.overall, result.differences)


def test_days_scores_the_last_steps_and_ways_are_chosen(folder: Path) -> None:
    result = run_backtest(folder, days=2, ways=["frozen", "warm"])
    assert [step.start / DAY for step in result.steps] == [4, 5]
    assert result.first_rows == 3 * 260
    assert set(result.overall) == {"frozen", "warm"}
    with pytest.raises(UsageError, match="--days 5"):
        run_backtest(folder, days=5)


def without_clicks_on_the_second_day(tmp_path: Path, days: list[int]) -> None:
    write_log(tmp_path / "log.csv", days)
    rows = list(csv.reader((tmp_path / "log.csv").open()))
    rows = [rows[0]] + [[*row[:3], "0" if DAY <= int(row[0]) < 2 * DAY else row[3]] for row in rows[1:]]
    with (tmp_path / "log.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (tmp_path / "days.yaml").write_text(RECIPE)


def test_rows_of_a_step_of_one_class_are_learnt_with_those_of_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_clicks_on_the_second_day(tmp_path, [0, 1, 2, 3])
    learnt = []

    def noting(loaded: LoadedRecipe, *given: Any, **settings: Any) -> TrainResult:
        learnt.append(sum(pl.read_parquet(file).height for file in loaded.recipe.data.train))
        return train(loaded, *given, **settings)

    monkeypatch.setattr(module, "train", noting)
    result = run_backtest(tmp_path, ways=["warm"])
    assert result.unlearnt == 1
    assert learnt == [260, 260, 520]


def test_a_step_of_one_class_is_scored_and_not_learnt_from(tmp_path: Path) -> None:
    without_clicks_on_the_second_day(tmp_path, [0, 1, 2])
    result = run_backtest(tmp_path, ways=["warm", "frozen"])
    assert result.unlearnt == 1
    assert np.isfinite(result.overall["warm"]["log_loss"].value)
    assert result.overall["warm"] == result.overall["frozen"]


def test_the_command_prints_a_table_for_each_metric_or_one_json_object(folder: Path, widedeep: CommandLine) -> None:
    command = ["backtest", folder / "days.yaml", "--work", folder / "work", "--warm", "--frozen", "--days", "2"]
    code, out, err = widedeep(*command)
    assert code == 0, err
    for text in ("log loss", "AUC", "calibration", "1970-01-05", "all", "warm", "frozen", "first model"):
        assert text in out
    assert "cold" not in out
    code, out, err = widedeep(*command, "--json")
    answer = json.loads(out)
    assert [step["start"] for step in answer["steps"]] == [4 * DAY, 5 * DAY]
    figures = answer["all"]["warm"]["log_loss"]
    assert figures["low"] < figures["value"] < figures["high"]
    assert set(answer["seconds"]) == {"frozen", "warm"}


def test_python_gives_the_figures_of_the_command_as_a_frame(folder: Path, result: Backtest) -> None:
    again = wd.backtest(folder / "days.yaml", step="1d", work_dir=folder / "work")
    assert (again.steps, again.overall, again.differences) == (result.steps, result.overall, result.differences)
    frame = again.frame()
    assert frame.columns[:5] == ["step", "start", "rows", "label_mean", "way"]
    assert frame["step"].unique(maintain_order=True).to_list()[0] == "1970-01-02"
    assert frame.height == 3 * len(result.steps)
    for step in result.steps:
        for way, changes in step.figures.items():
            row = frame.row(by_predicate=(pl.col("start") == step.start) & (pl.col("way") == way), named=True)
            for name, change in changes.items():
                assert (row[name], row[f"{name}_low"], row[f"{name}_high"]) == change.interval
    assert result.frame()["step"][0] == f"{DAY:.15g}"  # a bare number has the unit of the time


def test_the_page_holds_every_figure_and_a_chart_of_each_metric_and_asks_for_nothing(
    folder: Path, result: Backtest, tmp_path: Path, widedeep: CommandLine
) -> None:
    page = tmp_path / "page.html"
    command = ["backtest", folder / "days.yaml", "--work", folder / "work", "--html", page]
    code, out, err = widedeep(*command)
    assert code == 0, err
    assert "page.html" in "".join(out.split())
    text = page.read_text()
    assert not re.search(r"https?://(?!www\.w3\.org)|<script|<link|src=", text)
    assert text.count('<svg viewBox="') == 3
    for metric in ("Log loss", "AUC", "Calibration"):
        assert f"{metric} by step" in text or f"{metric.lower()} by step" in text
    for step in result.steps:
        for changes in step.figures.values():
            assert figure(changes["log_loss"].value) in text
            assert figure(changes["auc"].value) in text
    for changes in result.overall.values():
        assert figure(changes["log_loss"].low) in text
    assert "1970-01-06" in text
    code, _, err = widedeep(*command)
    assert code != 0
    assert "--force" in err
    assert widedeep(*command, "--force")[0] == 0


def test_the_page_takes_not_the_place_of_the_recipe_nor_of_its_data(tmp_path: Path, widedeep: CommandLine) -> None:
    write_log(tmp_path / "log.csv", [0, 1], rows=20)
    (tmp_path / "days.yaml").write_text(RECIPE)
    (tmp_path / "link.html").symlink_to("log.csv")
    before = [(tmp_path / name).read_bytes() for name in ("days.yaml", "log.csv")]

    for place in ("days.yaml", "log.csv", "link.html"):
        code, _, err = widedeep(
            *("backtest", tmp_path / "days.yaml", "--work", tmp_path / "work", "--html", tmp_path / place, "--force")
        )
        assert (code, "is what is read" in err) == (2, True), err
    assert [(tmp_path / name).read_bytes() for name in ("days.yaml", "log.csv")] == before


def test_the_page_says_of_waiting_rows_what_the_command_says(tmp_path: Path, widedeep: CommandLine) -> None:
    without_clicks_on_the_second_day(tmp_path, [0, 1, 2])
    page = tmp_path / "page.html"
    arguments = ["--work", tmp_path / "work", "--warm", "--html", page, "--set", "training.epochs=1"]

    code, out, err = widedeep("backtest", tmp_path / "days.yaml", *arguments)

    assert code == 0, err
    assert "not learnt from alone" in out
    assert "not learnt from alone: 1" in page.read_text()
    assert "on the rows that came since" in page.read_text()


def test_a_page_of_two_steps_where_a_class_is_missing_is_drawn_too(tmp_path: Path, widedeep: CommandLine) -> None:
    write_log(tmp_path / "log.csv", [0, 1, 2], rows=60)
    rows = pl.read_csv(tmp_path / "log.csv")
    rows = rows.with_columns(click=pl.when(pl.col("time") < 2 * DAY).then("click").otherwise(0))
    rows.write_csv(tmp_path / "log.csv")
    (tmp_path / "days.yaml").write_text(RECIPE)
    page = tmp_path / "page.html"
    arguments = ["--work", tmp_path / "work", "--frozen", "--html", page, "--set", "training.epochs=1"]
    code, _, err = widedeep("backtest", tmp_path / "days.yaml", *arguments)
    assert code == 0, err
    assert "nan" not in page.read_text().lower().replace("finance", "")


@pytest.mark.parametrize("step", ["0d", "1x", "", "-1d", "day"])
def test_a_step_that_is_no_length_is_refused(step: str, folder: Path, widedeep: CommandLine) -> None:
    code, _, err = widedeep("backtest", folder / "days.yaml", f"--step={step}")
    assert (code, "--step" in err) == (2, True)


def test_a_step_that_makes_too_few_or_too_many_of_them_is_refused(folder: Path, tmp_path: Path) -> None:
    loaded = load_recipe(folder / "days.yaml")
    for step in (1e9, 1.0):
        if step == 1.0:
            write_log(tmp_path / "log.csv", list(range(9)))
            (tmp_path / "days.yaml").write_text(RECIPE)
            loaded = load_recipe(tmp_path / "days.yaml")
        with pytest.raises(UsageError, match="--step"):
            backtest(loaded, tmp_path / "work", Reporter(), step=step)


def test_too_many_steps_are_refused_before_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path / "log.csv", [0, 1])
    (tmp_path / "days.yaml").write_text(RECIPE)
    monkeypatch.setattr(steps_module, "MOST_STEPS", 3)
    monkeypatch.setattr(steps_module, "_HELD_ROWS", 10)
    written: list[object] = []
    monkeypatch.setattr(pl.DataFrame, "write_parquet", lambda frame, path: written.append(path))
    with pytest.raises(UsageError, match="more than 3 steps of 60 seconds"):
        backtest(load_recipe(tmp_path / "days.yaml"), tmp_path / "work", Reporter(), step=60.0)
    assert not written


@pytest.mark.parametrize("time", [float("inf"), float("nan"), 1e300])
def test_a_time_that_lies_in_no_step_is_told_with_its_row(time: float, tmp_path: Path) -> None:
    pl.DataFrame({"time": [0.5, time], "user": "u", "shape": "s", "click": [0, 1]}).write_parquet(tmp_path / "log.pq")
    (tmp_path / "days.yaml").write_text(RECIPE.replace("log.csv", "log.pq").replace(", format: epoch", ""))
    with pytest.raises(DataError, match=r"log\.pq: row 2: column 'time'"):
        run_backtest(tmp_path)


def test_a_time_in_another_unit_than_seconds_is_shown_as_a_number(tmp_path: Path, widedeep: CommandLine) -> None:
    write_log(tmp_path / "log.csv", [0, 1, 2], rows=60)
    rows = pl.read_csv(tmp_path / "log.csv").with_columns(time=pl.col("time") // 1000 * 100 + 1_700_000_000_000)
    rows.write_csv(tmp_path / "log.csv")
    (tmp_path / "days.yaml").write_text(RECIPE.replace(", format: epoch", ""))
    arguments = ["--work", tmp_path / "work", "--step", "3h", "--frozen", "--set", "training.epochs=1"]
    code, out, err = widedeep("backtest", tmp_path / "days.yaml", *arguments)
    assert code == 0, err
    assert "17000000" in out


def test_a_recipe_without_a_time_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "days.yaml").write_text(RECIPE.replace("  time: {column: time, format: epoch}\n", ""))
    write_log(tmp_path / "log.csv", [0, 1])
    with pytest.raises(UsageError, match=r"data\.time"):
        run_backtest(tmp_path)
