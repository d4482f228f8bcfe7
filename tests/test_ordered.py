"""Work on threads comes back in order, and so do its errors."""

import threading
from collections.abc import Iterator

import polars as pl
import pytest

from widedeep.ordered import map_in_order, one_ahead


def test_results_come_in_the_order_of_the_items_however_long_each_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On one thread the second item would wait for the first.
    monkeypatch.setattr(pl, "thread_pool_size", lambda: 2)
    first_may_end = threading.Event()

    def slow_first(item: int) -> int:
        if item == 0:
            first_may_end.wait()
        else:
            first_may_end.set()
        return -item

    assert list(map_in_order(slow_first, range(50))) == [-item for item in range(50)]


def test_where_polars_has_one_thread_the_callers_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl, "thread_pool_size", lambda: 1)

    assert set(map_in_order(lambda _: threading.get_ident(), range(3))) == {threading.get_ident()}


@pytest.mark.parametrize("threads", [1, 2])
def test_an_error_of_drawing_comes_after_the_results_and_errors_before_it(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pl, "thread_pool_size", lambda: threads)

    def items() -> Iterator[int]:
        yield 1
        yield 0
        raise KeyError("the items end badly")

    drawn = map_in_order(lambda item: 1 // item, items())
    assert next(drawn) == 1
    with pytest.raises(ZeroDivisionError):
        next(drawn)
    drawn = map_in_order(lambda item: item, items())
    assert [next(drawn), next(drawn)] == [1, 0]
    with pytest.raises(KeyError):
        next(drawn)


def test_only_a_few_items_are_drawn_ahead() -> None:
    drawn_items: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            drawn_items.append(item)
            yield item

    results = map_in_order(lambda item: item, items())
    assert next(results) == 0
    assert len(drawn_items) < 100
    results.close()  # type: ignore[attr-defined]
    assert len(drawn_items) < 100


def test_one_item_is_made_ahead_and_an_error_comes_after_the_items_before_it() -> None:
    made = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        made.set()
        yield 2
        raise KeyError("the items end badly")

    drawn = one_ahead(items())
    assert next(drawn) == 1
    made.wait()  # nobody has asked for the second one
    assert next(drawn) == 2
    with pytest.raises(KeyError):
        next(drawn)
    assert list(one_ahead([])) == []
