"""What is put on a shelf comes back whole: arrays of any size, which loops need not be compiled anew for."""

from pathlib import Path

import numpy as np
import pytest
from stages_of_workers import Shuffled

from widedeep.errors import WorkersError
from widedeep.lists import Lists
from widedeep.workers.shelf import Shelf, taken


def test_objects_come_back_with_arrays_that_are_as_new(tmp_path: Path) -> None:
    arrays = [np.arange(3, dtype=np.uint8), np.empty(0, np.int64), np.arange(5.0), np.array([True, False])]
    value = {"arrays": arrays, "lists": Lists(np.arange(4)[1:], np.array([1, 0, 2])), "none": None}

    back = taken(Shelf(Shuffled(), tmp_path).put(value))

    assert back["none"] is None
    assert back["lists"].values.tolist() == [1, 2, 3]
    for array, expected in zip(back["arrays"], arrays, strict=True):
        assert array.dtype == expected.dtype
        assert array.tolist() == expected.tolist()
        assert array.flags.writeable
        assert array.flags.aligned


def test_a_change_to_what_was_taken_stays_with_the_taker(tmp_path: Path) -> None:
    path = Shelf(Shuffled(), tmp_path).put(np.zeros(3))

    taken(path)[:] = 1.0

    assert taken(path).tolist() == [0.0, 0.0, 0.0]


def test_a_shelf_that_was_deleted_takes_nothing_more(tmp_path: Path) -> None:
    shelf = Shelf(Shuffled(), tmp_path / "shelf")

    with pytest.raises(WorkersError, match="shelf: is gone: leave stages/ alone"):
        shelf.put("a")


def test_what_is_held_for_a_while_is_gone_then_and_told_by_its_path(tmp_path: Path) -> None:
    with Shelf(Shuffled(), tmp_path).holding("a") as path:
        assert taken(path) == "a"

    with pytest.raises(WorkersError, match=f"^{path}: is gone"):
        taken(path)
