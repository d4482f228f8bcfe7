"""What a column's name hints at."""

import pytest

from widedeep.suggest.look_names import is_named_amount, is_named_code, is_named_fold, is_session_name, words_of
from widedeep.suggest.look_times import is_named_like_a_time, is_named_like_the_past


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("user_id", ["user", "id"]),
        ("deviceType", ["device", "type"]),
        ("C14", ["c"]),
        ("hours-per week2", ["hours", "per", "week"]),
        ("HTTPCode", ["http", "code"]),
        ("42", []),
    ],
)
def test_a_name_is_cut_into_its_words(name: str, words: list[str]) -> None:
    assert words_of(name) == words


@pytest.mark.parametrize(
    ("name", "is_code", "is_amount"),
    [
        ("user_id", True, False),
        ("device type", True, False),
        ("zip", True, False),
        ("num_users", False, True),
        ("num_user", False, True),
        ("count_of_item", False, True),
        ("hours_per_week", False, True),
        ("price", False, True),
        ("total_price", False, True),
        ("price_category", True, False),
        ("x", False, False),
        ("7", False, False),
    ],
)
def test_the_last_word_names_a_code_or_an_amount_and_a_first_word_may_make_it_an_amount(
    name: str, is_code: bool, is_amount: bool
) -> None:
    assert (is_named_code(name), is_named_amount(name)) == (is_code, is_amount)


@pytest.mark.parametrize(
    ("name", "is_fold"),
    [("fold", True), ("Split", True), ("cv_fold", True), ("my_folds", True), ("kfold", True), ("folded", False)],
)
def test_a_division_of_the_rows_is_known_by_its_name(name: str, is_fold: bool) -> None:
    assert is_named_fold(name) == is_fold


@pytest.mark.parametrize(
    ("name", "is_session"), [("session_id", True), ("requestId", True), ("search", True), ("user_id", False)]
)
def test_a_visit_is_known_by_its_name(name: str, is_session: bool) -> None:
    assert is_session_name(name) == is_session


@pytest.mark.parametrize(
    ("name", "is_time", "is_past"),
    [
        ("timestamp", True, False),
        ("created_at", True, False),
        ("clickTime", True, False),
        ("day", True, False),
        ("birth_date", True, True),
        ("registered", False, True),
        ("signup_ts", True, True),
        ("price", False, False),
    ],
)
def test_times_and_days_of_the_past_are_known_by_their_names(name: str, is_time: bool, is_past: bool) -> None:
    assert (is_named_like_a_time(name), is_named_like_the_past(name)) == (is_time, is_past)
