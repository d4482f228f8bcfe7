"""A sweep as it starts, watches and ends trials; here these are stand-ins, which end at once."""

import fcntl
import itertools
import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from widedeep.errors import DataError, Interrupted, RecipeError, TrainingError, UsageError
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.recipe.schema import SweepSettings
from widedeep.recipe.sweep_space import read_entry
from widedeep.reporting import Reporter
from widedeep.search import sweep as module
from widedeep.search.journal import Journal
from widedeep.search.starter import Starter
from widedeep.search.sweep import SweepResult, best_recipe_text, plan_of, sweep
from widedeep.search.trial_process import TrialProcess

SPACE = {"training.deep.learning_rate": "log(1e-4, 1e-1)", "model.deep.hidden": [[16, 8], [8]]}


class StandIn:
    """A trial that goes by a plan: its exit code, or its valid log loss by epoch."""

    plans: Iterator[Any]
    started: list[dict[str, Any]]

    def __init__(
        self, recipe: Path, name: str, settings: Mapping[str, Any], work_dir: Path, cores: Any, starter: Starter
    ) -> None:
        assert recipe.exists()
        StandIn.started.append({**settings, "cores": cores})
        self.plan = next(StandIn.plans)
        self.began, self.pruned, self.epochs, self._under_way = 0.0, False, 0, True

    def new_epochs(self) -> Iterator[tuple[int, Mapping[str, float | None]]]:
        if self.epochs == 0:
            for value in self.plan if isinstance(self.plan, list) else []:
                if self.pruned:
                    break
                self.epochs += 1
                yield self.epochs, {"log_loss": value, "auc": None}
        self._under_way = False

    def run(self) -> Any:
        return type("Run", (), {"is_done": False, "path": Path.cwd() / "runs" / "r"})

    def prune(self) -> None:
        self.pruned = True

    def stop(self) -> None:
        return

    wait = kill = stop

    def code(self) -> int | None:
        if self._under_way:
            return None
        return 143 if self.pruned else 0 if isinstance(self.plan, list) else self.plan

    def result(self) -> dict[str, Any]:
        values = self.plan
        metrics = {"valid": {"log_loss": min(values), "auc": None}, "test": {"log_loss": 0.0}}
        return {"metrics": metrics, "epochs": len(values), "run": str(Path.cwd() / "runs" / "r")}

    def told(self) -> str:
        return f"ended with {self.plan}"


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TrialProcess", StandIn)
    monkeypatch.setattr(module, "_POLL_SECONDS", 0.0)
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.0)
    StandIn.started = []


def run(*plans: Any, workers: int = 1, epochs: int = 2, **changes: Any) -> SweepResult:
    StandIn.plans = iter(plans)
    loaded = load_recipe(Path("small.yaml"), [f"training.epochs={epochs}"])
    changes = {"trials": 3, "pruner": "none"} | changes
    return sweep(loaded, plan_of(loaded, SPACE, changes), Path(), Reporter(), workers=workers)


@contextmanager
def joining(folder: Path) -> Iterator[Journal]:
    """The journal of the sweep in `folder`, as another command at work has opened it."""
    with Workspace(Path().absolute()).searching(folder) as command:
        yield Journal(
            folder / "journal.jsonl",
            {setting: read_entry(entry) for setting, entry in SPACE.items()},
            minimize=True,
            pruner="none",
            seed=1,
            command=command,
            takes_part=lambda _: True,
            note=lambda _: None,
        )


pytestmark = pytest.mark.usefixtures("project", "stand_ins")


def test_the_recipe_itself_is_the_first_trial_and_the_best_of_all_is_told() -> None:
    result = run([0.6, 0.5], [0.7], [0.4, 0.45])
    assert StandIn.started[0]["model.deep.hidden"] == [16, 8]
    assert StandIn.started[0]["training.deep.learning_rate"] == 0.001
    assert [trial.value for trial in result.ranked] == [0.4, 0.5, 0.7]
    assert result.best is not None
    assert (result.best.number, result.best.epochs, result.best.run) == (2, 2, "runs/r")
    assert result.importance is None


def test_a_finished_sweep_is_told_again_and_more_trials_go_on_from_it() -> None:
    first = run([0.6], [0.5], [0.4])
    assert run().trials == first.trials
    more = run([0.3], trials=4)
    assert more.trials[:3] == first.trials
    assert len(more.trials) == 4


def test_another_space_metric_or_recipe_is_another_search() -> None:
    folders = {run([0.6], trials=1).folder, run([0.6], trials=1, seconds=50.0).folder}
    assert len(folders) == 1
    folders.add(run([0.6], trials=1, metric="brier", seconds=1e-9).folder)
    text = Path("small.yaml").read_text()
    Path("small.yaml").write_text(text.replace("dropout: 0.1", "dropout: 0.2"))
    folders.add(run([0.6], trials=1).folder)
    assert len(folders) == 3


def test_a_space_that_is_written_in_another_way_is_the_same_search() -> None:
    StandIn.plans = itertools.repeat([0.5])
    loaded = load_recipe(Path("small.yaml"))
    folders = {
        sweep(loaded, plan_of(loaded, {"training.deep.learning_rate": entry}, {"trials": 1}), Path(), Reporter()).folder
        for entry in ("log(1e-4, 1e-1)", "log(1e-4,1e-1)", " log( 0.0001 ,0.1)")
    }
    assert len(folders) == 1


def test_a_trial_that_fails_by_itself_is_replaced_by_another_one() -> None:
    result = run([0.6], 5, [0.5], [0.4])
    assert [trial.state for trial in result.trials] == ["trained", "failed", "trained", "trained"]
    assert result.trials[1].why == "ended with 5"
    assert result.trials[1].settings != result.trials[2].settings


def test_a_trial_that_is_killed_is_tried_again() -> None:
    result = run([0.6], 137, [0.5], [0.4])
    assert [trial.state for trial in result.trials] == ["trained", "failed", "trained", "trained"]
    assert result.trials[1].settings == result.trials[2].settings


def test_trials_that_fail_one_after_the_other_end_the_sweep_and_what_is_finished_is_kept() -> None:
    with pytest.raises(TrainingError, match="5 trials in a row failed"):
        run([0.6], 5, 2, 5, 1, 5)
    with pytest.raises(TrainingError, match="4 trials in a row failed"):
        run(137, 137, 137, 137)
    result = run([0.5], [0.4])
    assert len(result.finished) == 3


def test_trials_do_not_fail_in_a_row_if_one_is_pruned_or_finished_by_another_command_between_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained, fails = [[0.5, 0.4, 0.3]] * 5, [5] * 4
    result = run(*trained, *fails, [0.6, 0.6, 0.6], *fails, [0.2], trials=7, pruner="median", epochs=3)
    assert [trial.state for trial in result.finished] == [*["trained"] * 5, "pruned", "trained"]

    def another_finishes_one(trial: StandIn) -> str:
        if len(StandIn.started) == 5:
            with joining(result.folder) as journal:
                begun = journal.begin(9)
                assert begun is not None
                journal.end(begun[0], "trained", 0.5, {})
        return "too hot"

    StandIn.started = []
    monkeypatch.setattr(StandIn, "told", another_finishes_one)
    assert len(run(*fails, *fails, [0.2], trials=9, epochs=3).finished) == 9


def test_a_fault_that_all_trials_would_have_ends_the_sweep_with_its_exit_code() -> None:
    with pytest.raises(DataError, match="trial 0: ended with 3"):
        run(3)
    assert [trial.state for trial in run([0.6], [0.5], [0.4]).trials] == ["failed", "trained", "trained", "trained"]
    first, second = (trial.settings for trial in run().trials[:2])
    assert first == second


def test_trials_are_pruned_and_count_as_finished() -> None:
    result = run(*[[0.5, 0.4, 0.3]] * 5, [0.6, 0.6, 0.6], [0.5, 0.4, 0.2], trials=7, pruner="median", epochs=3)
    assert [trial.state for trial in result.trials] == [*["trained"] * 5, "pruned", "trained"]
    assert (result.trials[5].epochs, result.trials[5].value) == (2, 0.6)
    assert result.ranked[-1].state == "pruned"
    assert result.best == result.trials[6]


def test_a_trial_is_not_pruned_after_its_last_epoch() -> None:
    """It is all but done, and how fast it is looked at would decide."""
    result = run(*[[0.5, 0.4]] * 5, [0.6, 0.6], trials=6, pruner="median")
    assert [trial.state for trial in result.trials] == ["trained"] * 6


def test_a_metric_that_is_not_defined_fails_the_trial() -> None:
    with pytest.raises(TrainingError, match="AUC is not defined on the valid rows"):
        run(*[[0.5]] * 5, metric="auc")


def test_no_trial_begins_once_the_seconds_are_over() -> None:
    assert run(seconds=1e-9).trials == ()


def test_workers_share_the_cores_unless_the_recipe_says_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3, 5}, raising=False)
    run([0.6], [0.5], [0.4], workers=2)
    assert {str(started["cores"]) for started in StandIn.started} == {"None"}  # the project's recipe says so
    text = Path("small.yaml").read_text()
    Path("small.yaml").write_text(text.replace("  threads: 1\n", ""))
    StandIn.started = []
    run(*[[0.6]] * 4, trials=4, workers=2)
    assert {str(started["cores"]) for started in StandIn.started} == {"[0, 1]", "[2, 3]"}
    StandIn.started = []
    run([0.6], trials=5, workers=1)
    assert [started["cores"] for started in StandIn.started] == [None]
    StandIn.started = []
    run(*[[0.6]] * 8, trials=13, workers=8)
    assert [started["cores"] for started in StandIn.started] == [[0], [1], [2], [3], [5], [0], [1], [2]]


def test_what_cannot_be_searched_is_refused_before_anything_is_trained() -> None:
    loaded = load_recipe(Path("small.yaml"))
    with pytest.raises(UsageError, match="no setting to search"):
        plan_of(loaded, {}, {})
    with pytest.raises(UsageError, match="must be one of auto, log_loss"):
        plan_of(loaded, SPACE, {"metric": "rmse"})
    with pytest.raises(RecipeError, match=r"--space: training.epoch: 1 does not fit: .*did you mean 'epochs'"):
        plan_of(loaded, {"training.epoch": "int(1, 2)"}, {})
    without = load_recipe(Path("small.yaml"), ["data.split={kind: random, valid: 0, test: 0.1}"])
    with pytest.raises(UsageError, match="there are none"):
        sweep(without, SweepSettings(space=SPACE), Path(), Reporter())


def test_the_best_recipe_says_where_it_comes_from_and_reads_the_same_files_from_another_folder(tmp_path: Path) -> None:
    result = run([0.6], [0.5], [0.4])
    assert result.best is not None
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "best.yaml"
    text = best_recipe_text(
        load_recipe(Path("small.yaml")), result, result.best, target.parent, "widedeep sweep x\nname: y"
    )
    target.write_text(text)
    loaded = load_recipe(target)
    assert loaded.recipe.name == "small-best"
    assert loaded.recipe.sweep is None
    assert loaded.recipe.training.deep.learning_rate == result.best.settings["training.deep.learning_rate"]
    assert list(loaded.recipe.data.train) == ["../log.csv"]
    assert "# The best trial of a sweep (3 finished, 0 of them pruned):" in text
    assert "# Trial 2: valid log loss 0.4" in text
    assert "\nname: y" not in text


def test_the_recipe_is_the_first_trial_if_a_choice_says_the_same_in_other_words() -> None:
    StandIn.plans = iter([[0.6]])
    loaded = load_recipe(Path("small.yaml"), ["training.unknown_share=0"])
    space = {
        "model.deep": [{"hidden": [8]}, {"dropout": 0.1, "hidden": [16, 8]}],
        "training.unknown_share": [0.5, 0.25, 0, "auto"],
        "training.epochs": "int(1, 9)",
    }
    sweep(loaded, plan_of(loaded, space, {"trials": 1}), Path(), Reporter())
    started = StandIn.started[0]
    assert [started[setting] for setting in space] == [{"dropout": 0.1, "hidden": [16, 8]}, 0, 2]


def test_settings_that_are_trained_already_take_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.RunDirectory, "is_done", True)
    StandIn.plans = iter([[0.6], [0.5]])
    loaded = load_recipe(Path("small.yaml"))
    result = sweep(loaded, plan_of(loaded, {"training.epochs": [1, 2]}, {"trials": 12}), Path(), Reporter())
    assert len(StandIn.started) == 2
    assert len(result.finished) == 12
    for trial in result.finished:
        first = next(other for other in result.trials if other.settings == trial.settings)
        assert (trial.value, trial.epochs, trial.run) == (first.value, first.epochs, first.run)


def test_settings_that_are_trained_already_take_no_more_time_than_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.RunDirectory, "is_done", True)
    StandIn.plans = iter([[0.6], [0.5]])
    loaded = load_recipe(Path("small.yaml"))
    plan = plan_of(loaded, {"training.epochs": [1, 2]}, {"trials": 12, "seconds": 100.0})
    clock = itertools.count(step=3.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    assert 2 <= len(sweep(loaded, plan, Path(), Reporter()).finished) < 12


def test_settings_whose_run_is_gone_are_trained_again() -> None:
    StandIn.plans = iter([[0.6]] * 6)
    loaded = load_recipe(Path("small.yaml"))
    sweep(loaded, plan_of(loaded, {"training.epochs": [1, 2]}, {"trials": 6}), Path(), Reporter())
    assert len(StandIn.started) == 6


def test_trials_on_data_that_has_changed_meanwhile_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run([0.6], [0.5], trials=2)
    new_epochs = StandIn.new_epochs

    def changing_the_data(trial: StandIn) -> Iterator[tuple[int, Mapping[str, float | None]]]:
        with Path("log.csv").open("a") as log:
            log.write("9000,red,flat,u1,2.5,30,1\n")
        return new_epochs(trial)

    monkeypatch.setattr(StandIn, "new_epochs", changing_the_data)
    with pytest.raises(DataError, match="its data has changed since the sweep began"):
        run([0.4], trials=3)
    monkeypatch.setattr(StandIn, "new_epochs", new_epochs)
    second = run([0.6], trials=1)
    assert second.folder != first.folder
    assert [trial.value for trial in second.trials] == [0.6]


def test_a_trial_that_finds_no_place_for_its_output_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(TrainingError, match="cannot start a trial: Too many open files; start fewer workers"):
        TrialProcess(Path("small.yaml"), "small-sweep", {}, Path(), None)


def test_a_trial_finds_its_run_among_others_and_looks_at_each_of_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_: commands.append(command))
    trial = TrialProcess(Path("small.yaml"), "small-sweep", {"training.epochs": 3}, Path.cwd(), None)
    own = {"argv": ["widedeep", *commands[0][commands[0].index("train") :]]}
    folder = Path("runs/small-sweep")
    assert trial.run() is None
    for name, manifest in (("a", {"argv": ["widedeep", "train"]}), ("b", own), ("c", None), ("d", [])):
        (folder / name).mkdir(parents=True)
        if manifest is not None:
            (folder / name / "manifest.json").write_text(json.dumps(manifest))
    (folder / "latest").symlink_to("b")
    found = trial.run()
    assert found is not None
    assert found.path.name == "b"
    (folder / "c" / "manifest.json").write_text(json.dumps(own))
    read: list[str] = []
    read_bytes = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path.parent.name) or read_bytes(path))
    found = trial.run()
    assert found is not None
    assert found.path.name == "c"
    assert read == ["c", "d"]  # d is unreadable yet


def test_a_trial_that_was_stopped_is_woken_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    class Process:
        def send_signal(self, number: int) -> None:
            sent.append(number)

    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: Process())
    TrialProcess(Path("small.yaml"), "small-sweep", {}, Path.cwd(), None).stop()
    assert sent == [signal.SIGTERM, signal.SIGCONT]


def test_a_recipe_of_the_longest_name_is_searched() -> None:
    StandIn.plans = iter([[0.6]])
    loaded = load_recipe(Path("small.yaml"), [f"name={'n' * 200}"])
    assert len(sweep(loaded, plan_of(loaded, SPACE, {"trials": 1}), Path(), Reporter()).finished) == 1


def test_the_page_shows_all_trials(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    from widedeep.report.search import search_page

    result = run(
        *[[0.5 + n / 50, 0.4 + n / 50] for n in range(5)], [0.9, 0.9], 5, [0.3], trials=7, pruner="median", epochs=3
    )
    page = search_page(result, "small", datetime(2026, 1, 1, tzinfo=UTC))
    assert page == search_page(result, "small", datetime(2026, 1, 1, tzinfo=UTC))
    for told in ("Sweep of small", "6 trials trained", "1 trial pruned", "ended with 5", "Which settings matter"):
        assert told in page
    assert "[16, 8]" in page


def test_a_sweep_goes_on_with_a_journal_whose_end_is_torn() -> None:
    first = run([0.6], [0.5], [0.4])
    path = first.folder / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b'{"op_code": 1')
    assert run([0.3], trials=4).trials[:3] == first.trials
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_sweeps_at_once_of_the_same_search_share_its_trials() -> None:
    """Locks tell threads from each other as they do processes."""
    StandIn.plans = itertools.repeat([0.5])
    loaded = load_recipe(Path("small.yaml"))
    plan = plan_of(loaded, SPACE, {"trials": 9, "pruner": "none"})
    results: list[SweepResult] = []

    def search() -> None:
        results.append(sweep(loaded, plan, Path(), Reporter(), workers=2))

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(StandIn.started) == 9
    assert [len(result.finished) for result in results] == [9, 9, 9]
    assert results[0].trials == results[1].trials == results[2].trials
    assert not list(Path().glob(".widedeep.sweep-*"))


def test_an_interrupt_tells_of_checkpoints_only_if_trials_were_under_way_here(monkeypatch: pytest.MonkeyPatch) -> None:
    first = run([0.6], trials=1)

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    with joining(first.folder) as journal, monkeypatch.context() as changed:
        changed.setattr(module.time, "sleep", interrupted)
        assert journal.begin(2) is not None
        with pytest.raises(Interrupted, match=r"^interrupted: 1 of 2 trials are finished: the same command goes on$"):
            run(trials=2)
        with pytest.raises(Interrupted, match="1 of 3 trials are finished, and those under way have a checkpoint: the"):
            run([0.5], trials=3)


def test_an_interrupt_ends_a_sweep_that_waits_for_the_lock_of_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another command may be stopped (SIGSTOP) while it holds this lock."""
    lock = (run([0.6], trials=1).folder / "journal.lock").open("ab")
    naps = iter([lambda: fcntl.flock(lock, fcntl.LOCK_EX), lambda: signal.raise_signal(signal.SIGINT)])
    with lock, monkeypatch.context() as changed:
        changed.setattr(module.time, "sleep", lambda _: next(naps)())
        with pytest.raises(Interrupted, match="1 of 2 trials are finished, and those under way have a checkpoint"):
            run([0.5], trials=2)


def test_what_another_command_has_under_way_is_waited_for_and_taken_up_if_that_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = run([0.6], trials=1)
    loaded = load_recipe(Path("small.yaml"))
    told: list[str] = []

    class Notes(Reporter):
        def note(self, text: str) -> None:
            told.append(text)
            if "waiting for" in text:
                other.__exit__(None, None, None)

    other = joining(first.folder)
    journal = other.__enter__()
    begun = journal.begin(2)
    assert begun is not None
    StandIn.plans = iter([[0.4]])
    result = sweep(loaded, plan_of(loaded, SPACE, {"trials": 2, "pruner": "none"}), Path(), Notes())
    assert [trial.state for trial in result.trials] == ["trained", "failed", "trained"]
    assert result.trials[2].settings == begun[1]
    assert told[:2] == [
        "going on: finished trials: 1; under way in other commands: 1",
        "waiting for 1 trial of other commands",
    ]
