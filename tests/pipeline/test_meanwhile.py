"""What other commands do between two steps of one: each test puts it there by a patched step."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from widedeep import files, locks
from widedeep.comparison import promotion
from widedeep.errors import ArtefactError
from widedeep.files import paths_below, replacing_directory, temporary_directory
from widedeep.locks import locked, remove_idle_locks
from widedeep.pipeline import experiment
from widedeep.pipeline.listed_runs import list_runs
from widedeep.pipeline.past_runs import chosen_split
from widedeep.pipeline.serving import Pointer
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe, load_run_recipe
from widedeep.reporting import Reporter
from widedeep.runs import RunDirectory, find_run, settle_latest, write_manifest
from widedeep.scoring.scorer import Scorer
from widedeep_cli.main import dispatch

Patch = pytest.MonkeyPatch


class Killed(BaseException):
    """A process ends here."""


def once(step: Callable[..., Any], *, before: Callable[[], object] | None = None, after: Any = None) -> Any:
    """`step`, the first call of which comes right after `before`, or right before `after`."""
    called = False

    def call(*arguments: Any, **settings: Any) -> Any:
        nonlocal called
        is_first, called = not called, True
        if is_first and before is not None:
            before()
        result = step(*arguments, **settings)
        if is_first and after is not None:
            after()
        return result

    return call


def begun(folder: Path, name: str) -> RunDirectory:
    run = RunDirectory(folder / name)
    run.path.mkdir(parents=True)
    write_manifest(run, {"keys": dict.fromkeys(("ingest", "encoded", "run"), "0a"), "base_dir": "."})
    return run


def test_a_lock_that_another_has_taken_since_it_was_found_idle_is_not_removed(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    lock = tmp_path / ".widedeep.run.lock"
    lock.touch()

    def taken_by_another() -> None:
        lock.unlink()  # by who held it until now
        lock.touch()  # by who holds it from now on

    monkeypatch.setattr(fcntl, "flock", once(fcntl.flock, before=taken_by_another))
    remove_idle_locks(tmp_path, ".widedeep.*.lock")
    assert lock.exists()


def test_a_run_that_is_announced_while_an_earlier_one_is_settled_is_not_latest_before_it_is_done(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    folder = tmp_path / "runs" / "small"
    killed_late, killed_early = (begun(folder, name) for name in ("20260101T000000Z-0a", "20260102T000000Z-0b"))
    killed_late.done_path.touch()
    (folder / ".latest.next").symlink_to(killed_late.path.name)
    is_done = RunDirectory.is_done.fget  # type: ignore[attr-defined]

    def write_done(*_: Any) -> None:
        raise Killed

    def finish_the_other() -> None:
        with pytest.raises(Killed):
            killed_early.finish()

    monkeypatch.setattr("widedeep.runs.write_text", write_done)
    monkeypatch.setattr(RunDirectory, "is_done", property(once(is_done, after=finish_the_other)))
    settle_latest(folder)
    assert os.readlink(folder / "latest") == killed_late.path.name


def test_latest_stays_as_it_is_for_a_reader_while_another_moves_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "small"
    run = begun(folder, "20260101T000000Z-0a")
    run.done_path.touch()
    (folder / ".latest.next").symlink_to(run.path.name)
    with locked(folder / "latest", folder / ".latest.lock", "", wait=False, note=print, keep=False):
        settle_latest(folder)
        assert not (folder / "latest").is_symlink()
    settle_latest(folder)
    assert os.readlink(folder / "latest") == run.path.name
    assert sorted(path.name for path in folder.iterdir()) == [run.path.name, "latest"]


def test_a_run_that_is_finished_while_its_manifest_is_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    run = begun(tmp_path / "runs" / "small", "20260101T000000Z-0a")

    def finish() -> None:
        run.pin()
        run.finish()

    monkeypatch.setattr(RunDirectory, "manifest", once(RunDirectory.manifest, after=finish))
    with pytest.raises(ArtefactError, match="the run is unfinished"):
        run.require_done()
    assert "pins" in run.require_done()


def test_a_link_that_is_made_while_it_is_looked_for_is_none_yet(tmp_path: Path, monkeypatch: Patch) -> None:
    pointer = Pointer(begun(tmp_path / "runs" / "small", "20260101T000000Z-0a").path.parent)

    def promote() -> None:
        pointer.path.symlink_to("20260101T000000Z-0a")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_symlink", once(Path.is_symlink, after=promote))
        assert pointer.run() is None


def test_a_folder_that_another_puts_in_place_at_the_same_time_is_replaced_too(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    place = tmp_path / "exported"
    place.mkdir()
    (place / "first").touch()

    def put_another() -> None:
        place.mkdir()
        (place / "second").touch()

    with replacing_directory(place) as folder:
        (folder / "third").touch()
        monkeypatch.setattr(files.os, "replace", once(os.replace, after=put_another))
    assert [path.name for path in tmp_path.rglob("*")] == ["exported", "third"]


def vanishing(monkeypatch: Patch, name: str) -> None:
    """Let the folder of this name vanish when it is about to be read."""
    scandir = os.scandir

    def too_late(path: Any = ".") -> Any:
        if not isinstance(path, int) and os.path.basename(path) == name:
            shutil.rmtree(path, ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", too_late)


def test_who_may_read_a_run_is_told_though_what_was_left_in_it_is_removed_meanwhile(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    runs = [begun(tmp_path / "runs" / "small", f"2026010{number}T000000Z-0a") for number in (1, 2)]
    (runs[0].path / "gone" / "new").mkdir(parents=True)
    vanishing(monkeypatch, "gone")
    assert promotion._other_access(*runs) == []


def test_what_lies_below_a_folder_is_without_what_is_temporary_or_vanishes(tmp_path: Path, monkeypatch: Patch) -> None:
    for name in (".a.tmp-1/new", "gone/new", "kept/deep"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "file").touch()
    vanishing(monkeypatch, "gone")
    below = {path.relative_to(tmp_path).as_posix() for path in paths_below(tmp_path)}
    assert below - {"gone"} == {"kept", "kept/deep", "kept/deep/file"}


def test_a_run_that_is_removed_while_runs_are_listed_is_left_out(tmp_path: Path, monkeypatch: Patch) -> None:
    folder = tmp_path / "runs" / "small"
    kept, removed = (begun(folder, f"2026010{number}T000000Z-0a") for number in (1, 2))

    def remove() -> None:
        shutil.rmtree(removed.path)

    monkeypatch.setattr(RunDirectory, "manifest", once(RunDirectory.manifest, before=remove))
    assert [(run.path, run.state) for run in list_runs(folder)] == [(kept.path, "unfinished")]


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "runs" / "small" / "20260101T000000Z-0a")
    shutil.copytree((trained / "runs" / "small" / "latest").resolve(), run.path)
    return run


@pytest.mark.parametrize(
    ("step", "read"),
    [
        ("_within", RunDirectory.manifest),
        ("manifest", RunDirectory.facts),
        ("checked", lambda run: load_run_recipe(run, json.loads(run.manifest_path.read_text()))),
        ("check_scoring", lambda run: Scorer.load(run.path)),
    ],
)
def test_a_run_that_is_removed_while_it_is_read_is_not_called_damaged(
    copied: RunDirectory, monkeypatch: Patch, step: str, read: Callable[[RunDirectory], Any]
) -> None:
    def remove() -> None:
        shutil.rmtree(copied.path)

    monkeypatch.setattr(RunDirectory, step, once(getattr(RunDirectory, step), after=remove))
    with pytest.raises(ArtefactError, match="another command, such as `widedeep clean`, has removed the run meanwhile"):
        read(copied)


def test_a_run_that_is_removed_while_it_is_promoted_is_missing_and_not_unfit(
    copied: RunDirectory, tmp_path: Path, monkeypatch: Patch
) -> None:
    def remove() -> None:
        shutil.rmtree(copied.path)

    monkeypatch.setattr(RunDirectory, "check_scoring", once(RunDirectory.check_scoring, after=remove))
    with pytest.raises(ArtefactError, match="has removed the run meanwhile") as refused:
        promotion.promote(copied, (), work_dir=tmp_path, reporter=Reporter())
    assert refused.value.exit_code == 4


def killed_while_nobody_can_clean(*_: Any, **__: Any) -> Any:
    with pytest.raises(ArtefactError, match="in use by"), Workspace(Path.cwd()).locked(Reporter(), wait=False):
        pass  # as `clean` would
    raise Killed


@pytest.mark.parametrize(
    ("step", "command"),
    [
        ("widedeep.comparison.ablation.train_seeds", "ablate"),
        ("widedeep.comparison.split_check.ingest", "split-check"),
        ("widedeep.comparison.backtest._Table.scored", "backtest"),
    ],
)
def test_what_one_training_has_made_is_not_cleaned_away_before_the_next(
    project: Path, monkeypatch: Patch, step: str, command: str
) -> None:
    recipe = project / "small.yaml"
    recipe.write_text(recipe.read_text().replace("label: click", "label: click\n  time: id"))
    steps = ["--step", "500"] if command == "backtest" else []
    monkeypatch.setattr(step, killed_while_nobody_can_clean)
    with pytest.raises(Killed):
        dispatch([command, "small.yaml", *steps])


@pytest.mark.parametrize("keep", [False, True])
def test_a_signal_that_comes_as_a_lock_is_taken_leaves_it_only_if_it_is_to_be_kept(
    tmp_path: Path, monkeypatch: Patch, keep: bool
) -> None:
    lock = tmp_path / "lock"

    def signal_comes() -> None:
        raise Killed

    for step in ("flock", "claim"):
        with monkeypatch.context() as patched:
            if step == "flock":
                patched.setattr(fcntl, "flock", once(fcntl.flock, after=signal_comes))
            else:
                patched.setattr(locks, "own_claim", signal_comes)
            with pytest.raises(Killed), locked(lock, lock, "", wait=False, note=print, keep=keep):
                pass
        assert lock.exists() == keep


def test_who_is_refused_leaves_the_lock_to_its_holder(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with locked(lock, lock, "", wait=False, note=print, keep=False):
        with pytest.raises(ArtefactError, match="in use"), locked(lock, lock, "", wait=False, note=print, keep=False):
            pass
        assert lock.exists()
    assert not lock.exists()


def test_a_signal_that_comes_as_a_temporary_folder_is_made_leaves_none(tmp_path: Path, monkeypatch: Patch) -> None:
    def signal_comes() -> None:
        raise Killed

    monkeypatch.setattr(Path, "mkdir", once(Path.mkdir, after=signal_comes))
    with pytest.raises(Killed), temporary_directory(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_run_to_go_on_from_is_not_removed_once_it_was_read(project: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(experiment.Parent, "of", killed_while_nobody_can_clean)
    loaded = load_recipe(project / "small.yaml")
    asked = experiment.Asked(goes_on_from=project / "runs" / "before")
    with pytest.raises(Killed):
        experiment.train(loaded, project, Reporter(), asked)
    with pytest.raises(Killed):
        experiment.train_seeds(loaded, project, Reporter(), 2, asked)


def test_the_folder_of_a_recipe_whose_first_training_is_under_way_has_no_finished_run(
    tmp_path: Path,
) -> None:
    folder = begun(tmp_path / "runs" / "small", "20260101T000000Z-0a").path.parent
    with pytest.raises(ArtefactError, match="recipe small has no finished run here"):
        find_run(str(folder), tmp_path)


@pytest.mark.parametrize("split", [None, "test"])
def test_a_typed_table_that_is_removed_once_it_was_found_is_told(tmp_path: Path, split: str | None) -> None:
    with pytest.raises(ArtefactError, match="another command has removed the typed table meanwhile: run again"):
        chosen_split(tmp_path / "stages" / "ingest" / "0a", split)
