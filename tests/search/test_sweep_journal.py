"""The journal of a sweep: what it remembers, over kills too."""

from pathlib import Path
from typing import Any, Literal

import pytest

from widedeep.errors import ArtefactError
from widedeep.recipe.sweep_space import read_entry
from widedeep.search.journal import Journal

SPACE: dict[str, Any] = {
    "training.deep.learning_rate": read_entry("log(1e-4, 1e-1)"),
    "training.batch_size": read_entry("log_int(16, 512)"),
    "model.deep.hidden": read_entry([[8], [16, 8], None]),
}


def opened(folder: Path, pruner: Literal["median", "none"] = "none", minimize: bool = False) -> Journal:
    return Journal(folder / "journal.jsonl", SPACE, minimize=minimize, pruner=pruner, seed=3)


def trained(journal: Journal, value: float) -> dict[str, Any]:
    trial, settings = journal.ask()
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
    _, left = opened(tmp_path).ask()
    journal = opened(tmp_path)
    assert journal.fail_unended() == 1
    assert opened(tmp_path).fail_unended() == 0
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
        journal.fail_unended()
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


def test_no_lock_is_left_behind_that_another_start_would_wait_for(tmp_path: Path) -> None:
    trained(opened(tmp_path), 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["journal.jsonl"]


@pytest.mark.parametrize("minimize", [False, True])
def test_trials_that_fall_behind_are_pruned_after_the_second_epoch_and_keep_their_best_figure(
    minimize: bool, tmp_path: Path
) -> None:
    sign = -1.0 if minimize else 1.0
    journal = opened(tmp_path, "median", minimize)
    for _ in range(5):
        trial, _ = journal.ask()
        assert not any(journal.report(trial, epoch, sign * (0.7 + epoch / 100)) for epoch in (1, 2, 3))
        journal.end(trial, "trained", sign * 0.73, {})
    trial, _ = journal.ask()
    pruned = [journal.report(trial, epoch, sign * value) for epoch, value in ((1, 0.6), (2, 0.55))]
    assert pruned == [False, True]
    journal.end(trial, "pruned", None, {"epochs": 2})
    last = opened(tmp_path, "median", minimize).ended()[-1]
    assert (last.state, last.value, last.epochs) == ("pruned", sign * 0.6, 2)


def test_the_setting_that_decides_is_the_important_one(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    assert journal.importance() is None
    for _ in range(14):
        trial, settings = journal.ask()
        journal.end(trial, "trained", -abs(settings["training.batch_size"] - 64.0), {})
    importance = journal.importance()
    assert importance is not None
    assert next(iter(importance)) == "training.batch_size"
    assert sum(importance.values()) == pytest.approx(1.0)
