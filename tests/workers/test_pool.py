"""Workers of this machine: every part is done once for the caller, whoever dies; errors are those of one process."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_tasks import die, die_at_first, fail, process_id, refuse_from_two_on, square, threads_of_polars

from widedeep.errors import ColumnValuesError, Fault, RecipeError, UsageError, WorkersError
from widedeep.workers import open_workers
from widedeep.workers.pool import open_pool


def test_every_item_comes_back_once_with_its_number_whatever_the_number_of_workers() -> None:
    for size in (1, 3):
        with open_pool(size) as pool:
            assert sorted(pool.map(square, range(7))) == [(number, number**2) for number in range(7)]
            assert pool.in_order(square, []) == []


def test_no_more_processes_start_than_there_can_be_work_for() -> None:
    with open_pool(3) as pool:
        pool.prepare("worker_tasks", 1)
        assert len({*pool.in_order(process_id, range(1))}) == len(pool._workers) == 1
        pool.prepare("worker_tasks", 9)
        assert len(pool._workers) == 3


def test_ctrl_c_does_not_reach_a_worker_that_is_still_starting() -> None:
    with open_pool(1) as pool:
        pool.prepare("worker_tasks", 1)
        (worker,) = pool._workers
        worker.process.send_signal(signal.SIGINT)
        assert pool.in_order(process_id, [0]) == [worker.process.pid]


def test_a_process_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    message = "^--workers 2: cannot start process 1: Resource temporarily unavailable; take fewer workers$"
    with open_pool(2) as pool, pytest.raises(WorkersError, match=message):
        pool.in_order(square, [1])


def test_a_worker_works_even_if_it_could_not_import_early_what_it_was_to() -> None:
    with open_pool(1) as pool:
        pool.prepare("no_such_module", 1)
        assert pool.in_order(square, [2]) == [4]


def test_the_largest_items_are_begun_first_and_the_first_error_in_order_is_raised() -> None:
    with open_pool(1) as pool:
        assert list(pool.map(square, [5, 6, 7, 8], sizes=[1, 9, 1, 3])) == [(1, 36), (3, 64), (0, 25), (2, 49)]
        with pytest.raises(ColumnValuesError, match="is odd"):
            list(pool.map(refuse_from_two_on, range(5), sizes=[1, 2, 3, 4, 5]))


def test_items_are_begun_while_later_ones_are_made_and_few_are_made_ahead() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    with open_pool(2) as pool:
        results = pool.map(square, items())
        first = next(results)
        assert len(made) <= 6  # one of each worker, one ahead of each, and those that are begun since
        assert sorted([first, *results]) == [(number, number**2) for number in range(20)]


def test_an_error_of_the_items_is_that_of_the_one_which_they_lack() -> None:
    def items(last: int) -> Iterator[int]:
        yield from range(last)
        raise KeyError("no more")

    for size in (1, 3):
        with open_pool(size) as pool:
            with pytest.raises(KeyError, match="no more"):
                pool.in_order(square, items(2))
            with pytest.raises(ColumnValuesError, match="is odd"):  # of item 2, before the lack of item 3
                pool.in_order(refuse_from_two_on, items(3))
            assert pool.in_order(square, iter([3])) == [9]


def test_a_worker_that_dies_of_an_item_of_many_to_come_loses_none(tmp_path: Path) -> None:
    with open_pool(2) as pool:
        processes = pool.in_order(die_at_first, (tmp_path / str(number) for number in range(6)))

    assert len(processes) == 6


def test_a_worker_has_one_thread_and_is_another_process_that_ends_with_the_context(tmp_path: Path) -> None:
    (tmp_path / "mark").touch()
    with open_pool(1) as pool:
        assert pool.in_order(threads_of_polars, [0]) == [1]
        (process,) = pool.in_order(die_at_first, [tmp_path / "mark"])
        assert process != os.getpid()

    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_worker_that_is_killed_is_replaced_and_its_part_done_again(tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(3)]
    with open_pool(2) as pool:
        processes = pool.in_order(die_at_first, marks)

    assert len(processes) == 3
    assert all(mark.exists() for mark in marks)


def test_a_part_that_kills_every_worker_is_given_up_with_the_signal() -> None:
    with open_pool(1) as pool, pytest.raises(WorkersError, match=r"3 workers died .* \(signal 9\)"):
        pool.in_order(die, [0])


def test_the_error_of_the_first_part_in_order_is_raised_as_it_was() -> None:
    with open_pool(3) as pool, pytest.raises(ColumnValuesError, match=r"^log.csv:7: column 'price': is odd$") as raised:
        pool.in_order(refuse_from_two_on, range(6))
    assert (raised.value.column, raised.value.reason) == ("price", "is odd")

    with open_pool(1) as pool, pytest.raises(RecipeError) as faults:
        pool.in_order(refuse_from_two_on, [5])
    assert faults.value.faults == (Fault("features", "is wrong"), Fault("crosses", "is too"))


def test_a_bug_in_a_worker_keeps_its_traceback_and_the_pool_goes_on() -> None:
    with open_pool(1) as pool:
        with pytest.raises(ZeroDivisionError, match="a bug") as raised:
            pool.in_order(fail, [0])
        assert "worker_tasks.py" in "".join(raised.value.__notes__)
        assert pool.in_order(square, [3]) == [9]


@pytest.mark.parametrize("where", ["0", "-1", "two", "", "http://host:1", "ray:/host"])
def test_workers_that_nobody_could_find_are_a_usage_error(where: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="must be a number of processes"), open_workers(where, tmp_path):
        pass
