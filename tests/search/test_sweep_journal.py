"""The journal of a sweep: what it remembers, over kills too."""

import fcntl
import itertools
import multiprocessing
import shutil
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from optuna.importance import get_param_importances
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial

from widedeep.errors import ArtefactError
from widedeep.locks import is_locked
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.sweep_space import read_entry
from widedeep.reporting import Reporter
from widedeep.search.journal import Journal

SPACE: dict[str, Any] = {
    "training.deep.learning_rate": read_entry("log(1e-4, 1e-1)"),
    "training.batch_size": read_entry("log_int(16, 512)"),
    "model.deep.hidden": read_entry([[8], [16, 8], None]),
}


MANY = 1000
numbers = itertools.count()


def opened(
    folder: Path,
    pruner: Literal["median", "none"] = "none",
    minimize: bool = False,
    command: str | None = None,
    others: Collection[str] = (),
    told: list[str] | None = None,
) -> Journal:
    """The journal as a command opens it, by default one after all others have ended."""
    return Journal(
        folder / "journal.jsonl",
        SPACE,
        minimize=minimize,
        pruner=pruner,
        seed=3,
        command=f"command {next(numbers)}" if command is None else command,
        takes_part=lambda name: name in others,
        note=([] if told is None else told).append,
    )


def begun(journal: Journal, wanted: int = MANY) -> tuple[Trial, dict[str, Any]]:
    trial = journal.begin(wanted)
    assert trial is not None
    return trial


def trained(journal: Journal, value: float) -> dict[str, Any]:
    trial, settings = begun(journal)
    journal.end(trial, "trained", value, {"run": "r", "epochs": 2, "seconds": 1.5})
    return settings


def test_settings_lie_in_the_space_and_have_the_types_of_a_recipe(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    for number in range(12):
        settings = trained(journal, number / 10)
        assert 1e-4 <= settings["training.deep.learning_rate"] <= 1e-1
        assert len(f"{settings['training.deep.learning_rate']:.15g}".replace("0.", "").lstrip("0").split("e")[0]) <= 7
        assert type(settings["training.batch_size"]) is int
        assert 16 <= settings["training.batch_size"] <= 512
        assert settings["model.deep.hidden"] in ([8], [16, 8], None)
    assert [trial.value for trial in opened(tmp_path).ended()] == [number / 10 for number in range(12)]


def test_a_planned_trial_is_the_next_one(tmp_path: Path) -> None:
    own = {"training.deep.learning_rate": 0.01, "training.batch_size": 64, "model.deep.hidden": [16, 8]}
    journal = opened(tmp_path)
    assert journal.is_new
    journal.plan(own)
    assert not opened(tmp_path).is_new
    assert trained(opened(tmp_path), 0.5) == own


def test_a_trial_that_a_killed_process_left_is_failed_and_tried_again(tmp_path: Path) -> None:
    _, left = begun(opened(tmp_path))
    journal = opened(tmp_path)
    assert journal.fail_left() == 1
    assert opened(tmp_path).fail_left() == 0
    assert trained(opened(tmp_path), 0.5) == left
    assert [(trial.state, trial.settings) for trial in journal.ended()] == [("failed", left), ("trained", left)]
    assert journal.ended()[0].why == "the sweep was ended"


def test_a_start_does_not_suggest_what_an_earlier_start_did(tmp_path: Path) -> None:
    suggested = [trained(opened(tmp_path), 0.1 * start)["training.deep.learning_rate"] for start in range(4)]
    assert len(set(suggested)) == 4


def test_equal_searches_suggest_the_same(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
    first, second = ([trained(opened(folder), 0.5) for _ in range(3)] for folder in folders)
    assert first == second


@pytest.mark.parametrize("torn", [b'{"op_code":4,"wor', b"\x00\x00\x00", b'{"op_code"\n', b'"text"\n'])
def test_a_line_that_was_half_written_is_dropped_and_the_search_goes_on(torn: bytes, tmp_path: Path) -> None:
    trained(opened(tmp_path), 0.5)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    journal = opened(tmp_path)
    assert journal.torn_bytes == len(torn)
    assert path.read_bytes().startswith(whole)
    assert not path.read_bytes()[len(whole) :].startswith(torn)
    trained(journal, 0.6)
    assert [trial.value for trial in opened(tmp_path).ended()] == [0.5, 0.6]


def test_whatever_byte_a_journal_ends_at_it_is_gone_on_with(tmp_path: Path) -> None:
    for value in (0.5, 0.6):
        trained(opened(tmp_path), value)
    path = tmp_path / "journal.jsonl"
    whole = path.read_bytes()
    for end in range(0, len(whole), 211):
        path.write_bytes(whole[:end])
        journal = opened(tmp_path)
        journal.fail_left()
        trained(journal, 0.7)
        assert opened(tmp_path).ended()[-1].value == 0.7


def test_a_damaged_journal_is_told(tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_text('{"op_code": "x"}\n')
    with pytest.raises(ArtefactError, match="damaged: delete its folder"):
        opened(tmp_path)


def test_a_journal_that_is_damaged_before_its_end_is_told_and_kept(tmp_path: Path) -> None:
    for value in (0.5, 0.6):
        trained(opened(tmp_path), value)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:5], b"\x00" * 9 + b"\n", *lines[6:]])
    path.write_bytes(damaged)
    with pytest.raises(ArtefactError, match=r"journal\.jsonl:6: the journal is damaged: delete its folder"):
        opened(tmp_path)
    assert path.read_bytes() == damaged
    path.unlink()
    path.mkdir()
    with pytest.raises(ArtefactError, match="Is a directory: delete its folder"):
        opened(tmp_path)


def test_of_several_commands_none_suggests_what_another_did_nor_takes_up_what_is_at_work(tmp_path: Path) -> None:
    commands = [opened(tmp_path, command=name, others="abc") for name in "abc"]
    suggested = [begun(commands[number % 3])[1]["training.deep.learning_rate"] for number in range(9)]
    assert len(set(suggested)) == 9
    assert [command.num_elsewhere() for command in commands] == [6, 6, 6]
    assert [command.fail_left() for command in commands] == [0, 0, 0]


def test_no_more_trials_begin_than_are_wanted_whoever_has_them_under_way(tmp_path: Path) -> None:
    here, elsewhere = (opened(tmp_path, command=name, others="ab") for name in "ab")
    (first, _), (second, _) = begun(here, 2), begun(elsewhere, 2)
    assert here.begin(2) is None
    here.end(first, "trained", 0.5, {})
    assert here.begin(2) is None
    assert elsewhere.begin(3) is not None
    elsewhere.fail(second, "too hot", again=False)
    third = here.begin(3)
    assert third is not None
    assert elsewhere.begin(3) is None


def test_what_a_command_left_is_taken_up_by_another_at_once(tmp_path: Path) -> None:
    alive = {"a", "b"}
    here, elsewhere = (opened(tmp_path, command=name, others=alive) for name in "ab")
    begun(here, 2)
    _, left = begun(elsewhere, 2)
    assert here.begin(2) is None
    alive.remove("b")
    assert begun(here, 2)[1] == left
    assert here.num_elsewhere() == 0


def test_a_trial_that_was_taken_up_by_another_command_is_not_told_twice(tmp_path: Path) -> None:
    here, elsewhere = opened(tmp_path, command="a"), opened(tmp_path, command="b")
    trial, _ = begun(here, 1)
    assert elsewhere.fail_left() == 1
    for tell in (
        lambda: here.report(trial, 1, 0.5),
        lambda: here.end(trial, "trained", 0.5, {}),
        lambda: here.fail(trial, "too hot", again=True),
    ):
        with pytest.raises(ArtefactError, match="trial 0 was taken up by another command"):
            tell()
    assert [trial.state for trial in here.ended()] == ["failed"]


def search_at_once(folder: Path, command: str, wanted: int) -> None:
    journal = opened(folder, command=command, others=("a", "b", "c"))
    while journal.num_finished() < wanted:
        if (trial := journal.begin(wanted)) is not None:
            journal.report(trial[0], 1, 0.5)
            journal.end(trial[0], "trained", 0.5, {"run": command})


def test_commands_that_write_at_once_finish_as_many_trials_as_are_wanted(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=search_at_once, args=(tmp_path, name, 30)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    ended = opened(tmp_path).ended()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [(trial.number, trial.state) for trial in ended] == [(number, "trained") for number in range(30)]
    assert len({str(trial.settings) for trial in ended}) == 30


@pytest.mark.parametrize("torn", [b'{"op_code":4,"wor', b"\x00\x00\x00", b'{"op_code"\n'])
def test_what_another_command_has_half_written_when_it_was_killed_is_dropped(torn: bytes, tmp_path: Path) -> None:
    journal = opened(tmp_path, command="a", others="b")
    trained(journal, 0.5)
    trained(opened(tmp_path, command="b", others="a"), 0.6)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(torn)
    trained(journal, 0.7)
    assert journal.torn_bytes == len(torn)
    assert [trial.value for trial in opened(tmp_path).ended()] == [0.5, 0.6, 0.7]


def test_a_journal_that_is_damaged_while_it_is_at_work_is_told(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    trained(journal, 0.5)
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines, b"nothing\n", lines[-1]]))
    with pytest.raises(ArtefactError, match=rf"journal\.jsonl:{len(lines) + 1}: the journal is damaged"):
        journal.begin(MANY)


@pytest.mark.parametrize("line", [b'{"op_code": 77}\n', b'{"a": 1}\n', b'{"op_code": 4, "worker_id": "x"}\n'])
def test_a_step_that_is_none_is_told_by_all_that_are_at_work(line: bytes, tmp_path: Path) -> None:
    commands = [opened(tmp_path, command=name, others="ab") for name in "ab"]
    trained(commands[0], 0.5)
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(line)
    for command in commands:
        with pytest.raises(ArtefactError, match=r"journal\.jsonl: the journal is damaged: delete its folder"):
            command.num_finished()


@pytest.mark.parametrize("steps_left", [None, 0, 3, -1])
def test_a_journal_that_is_deleted_or_cut_while_commands_are_at_work_ends_them_and_is_begun_anew_or_gone_on_with(
    steps_left: int | None, tmp_path: Path
) -> None:
    here, elsewhere = (opened(tmp_path, command=name, others="ab") for name in "ab")
    trained(elsewhere, 0.5)
    trial, _ = begun(here)
    assert elsewhere.num_elsewhere() == 1
    path = tmp_path / "journal.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if steps_left is None:
        path.unlink()
    else:
        path.write_bytes(b"".join(lines[:steps_left]))
    with pytest.raises(ArtefactError, match=r"journal\.jsonl: was deleted or cut while commands were at work"):
        elsewhere.num_finished()
    later = opened(tmp_path, command="c")
    for value in range(5):  # so that it is as long as it was
        trained(later, value)
    with pytest.raises(ArtefactError, match=r"journal\.jsonl: was deleted or cut while commands were at work"):
        here.end(trial, "trained", 0.7, {})
    assert [trial.value for trial in later.ended()][-5:] == list(range(5))


def test_a_folder_that_is_deleted_while_commands_are_at_work_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "search"
    folder.mkdir()
    journal = opened(folder)
    shutil.rmtree(folder)
    with pytest.raises(ArtefactError, match=r"journal\.jsonl: was deleted or cut while commands were at work"):
        journal.begin(MANY)


def test_what_is_read_of_a_journal_is_read_while_others_are_kept_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a lock, a disk over a network may show less than is there."""
    journal = opened(tmp_path, "median")
    for value in range(6):
        trained(journal, value)
    trial, _ = begun(journal)
    locked: list[bool] = []
    read_logs = JournalFileBackend.read_logs

    def reading(backend: JournalFileBackend, start: int) -> Iterator[dict[str, Any]]:
        locked.append(is_locked(tmp_path / "journal.lock", ""))
        return read_logs(backend, start)

    monkeypatch.setattr(JournalFileBackend, "read_logs", reading)
    for read in (journal.num_finished, journal.num_elsewhere, journal.ended):
        read()
    assert journal.importance(journal.ended()) is not None
    assert not journal.is_new
    assert not journal.report(trial, 1, 9.0)
    assert len(locked) > 6
    assert all(locked)


def test_who_waits_long_for_the_lock_is_told_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr("widedeep.search.journal._TOLD_SECONDS", 0.0)
    journal, other = opened(tmp_path), opened(tmp_path, told=told)
    waiting = threading.Thread(target=lambda: other.begin(MANY))
    with journal.alone():
        waiting.start()
        while not told:
            time.sleep(0.001)
    waiting.join()
    assert told == [f"waiting for {tmp_path / 'journal.lock'}, which another process has locked"]
    assert not other.is_new


def test_a_disk_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("fcntl.flock", refused)
    with pytest.raises(
        ArtefactError, match=r"journal\.lock: cannot be locked: No locks available; choose another --work"
    ):
        opened(tmp_path)
    with (
        pytest.raises(ArtefactError, match="cannot be locked: No locks available; choose another --work"),
        Workspace(tmp_path).shared(Reporter(), wait=True),
    ):
        pass


def test_a_disk_that_keeps_no_locks_any_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace, folder = Workspace(tmp_path), tmp_path / "sweeps" / "small" / "key"
    flock = fcntl.flock

    def refused(file: Any, how: int) -> None:
        if how & fcntl.LOCK_SH:
            raise OSError(37, "No locks available")
        flock(file, how)

    monkeypatch.setattr("fcntl.flock", refused)
    with (
        workspace.searching(folder) as command,
        pytest.raises(ArtefactError, match=r"\.lock: cannot be locked: No locks available; choose another --work"),
    ):
        workspace.searches(folder, command)


def test_a_command_that_was_killed_leaves_no_lock_once_another_has_ended(tmp_path: Path) -> None:
    workspace, folder = Workspace(tmp_path), tmp_path / "sweeps" / "small" / "key"
    other = tmp_path / ".widedeep.sweep-key-killed.lock"
    with workspace.searching(folder) as command:
        other.touch()
        assert workspace.searches(folder, command)
        assert not workspace.searches(folder, "killed")
    assert list(tmp_path.iterdir()) == []


def test_the_lock_that_is_left_is_held_by_nobody(tmp_path: Path) -> None:
    trained(opened(tmp_path), 0.5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["journal.jsonl", "journal.lock"]
    assert not is_locked(tmp_path / "journal.lock", "")


@pytest.mark.parametrize("minimize", [False, True])
def test_trials_that_fall_behind_are_pruned_after_the_second_epoch_and_keep_their_best_figure(
    minimize: bool, tmp_path: Path
) -> None:
    sign = -1.0 if minimize else 1.0
    journal = opened(tmp_path, "median", minimize)
    for _ in range(5):
        trial, _ = begun(journal)
        assert not any(journal.report(trial, epoch, sign * (0.7 + epoch / 100)) for epoch in (1, 2, 3))
        journal.end(trial, "trained", sign * 0.73, {})
    trial, _ = begun(journal)
    pruned = [journal.report(trial, epoch, sign * value) for epoch, value in ((1, 0.6), (2, 0.55))]
    assert pruned == [False, True]
    journal.end(trial, "pruned", None, {"epochs": 2})
    last = opened(tmp_path, "median", minimize).ended()[-1]
    assert (last.state, last.value, last.epochs) == ("pruned", sign * 0.6, 2)


def test_the_setting_that_decides_is_the_important_one(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert journal.importance(()) is None
    for _ in range(14):
        trial, settings = begun(journal)
        journal.end(trial, "trained", -abs(settings["training.batch_size"] - 64.0), {})
    importance = journal.importance(journal.ended())
    assert importance is not None
    assert importance == get_param_importances(journal._study)
    assert journal.importance(journal.ended()[:4]) is None
    assert next(iter(importance)) == "training.batch_size"
    assert sum(importance.values()) == pytest.approx(1.0)
