"""Model and training settings by the size of a table."""

import pytest

from widedeep.recipe.kinds import KINDS
from widedeep.suggest.settings import Size, batch_size, embedding_l2, model_settings, training_settings


def size(rows: int, rarer: float = 0.5) -> Size:
    return Size(rows, rarer)


@pytest.mark.parametrize(
    ("rows", "hidden", "dropout"),
    [
        (1_999, [32], 0.2),
        (2_000, [64, 32], 0.2),
        (19_999, [64, 32], 0.2),
        (20_000, [128, 64], 0.2),
        (199_999, [128, 64], 0.2),
        (200_000, [256, 128], 0.1),
    ],
)
def test_the_tower_grows_with_the_rows(rows: int, hidden: list[int], dropout: float) -> None:
    kind, deep = model_settings(size(rows))
    assert (kind.key, kind.value) == ("kind", "wide_deep")
    assert set(kind.comment.split("; try ")[1].split(", ")) == set(KINDS) - {"wide_deep"}
    assert (deep.key, deep.value) == ("deep", {"hidden": hidden, "dropout": dropout})
    assert deep.comment == f"sized for {rows:,} train rows"


@pytest.mark.parametrize(
    ("rows", "rarer", "batch"),
    [
        (100, 0.5, 32),
        (9_599, 0.5, 32),
        (19_200, 0.5, 64),
        (38_399, 0.5, 64),
        (38_400, 0.5, 128),
        (1_228_800, 0.5, 4096),
        (50_000_000, 0.5, 4096),
        # Ten positives in a batch where the steps allow it.
        (60_000, 0.002, 2048),
        (1_000_000, 0.001, 8192),
        (50_000_000, 0.0001, 8192),
        (50_000_000, 0.0, 8192),
        (100_000, 0.02, 512),
        (100, 0.01, 32),
        (2_000, 0.01, 64),
    ],
)
def test_a_batch_is_a_300th_of_the_rows_or_what_holds_ten_of_the_rarer_class(
    rows: int, rarer: float, batch: int
) -> None:
    assert batch_size(size(rows, rarer)) == batch


@pytest.mark.parametrize(
    ("rows", "rarer", "epochs", "rate", "patience"),
    [
        (3_199, 0.5, 40, 0.2, 5),
        (3_200, 0.5, 30, 0.2, 4),
        (99_999, 0.5, 30, 0.2, 4),
        (100_000, 0.5, 15, 0.05, 2),
        # Large batches for a rare class leave few steps.
        (100_000, 0.001, 40, 0.05, 5),
    ],
)
def test_few_steps_an_epoch_get_more_epochs_and_more_patience(
    rows: int, rarer: float, epochs: int, rate: float, patience: int
) -> None:
    settings = {setting.key: setting.value for setting in training_settings(size(rows, rarer))}
    assert list(settings) == ["batch_size", "epochs", "wide", "deep", "early_stopping"]
    assert settings["epochs"] == epochs
    assert settings["wide"] == {"learning_rate": rate}
    assert settings["deep"] == {"learning_rate": 0.001, "embedding_l2": 0.001}
    assert settings["early_stopping"] == {"patience": patience}


@pytest.mark.parametrize(("rows", "l2"), [(1_000, 0.001), (499_999, 0.001), (500_000, 3e-5)])
def test_embeddings_of_few_rows_are_held_to_zero(rows: int, l2: float) -> None:
    assert embedding_l2(rows) == l2


@pytest.mark.parametrize(
    ("rows", "rarer", "words"),
    [
        (96_000, 0.5, "375 steps an epoch"),
        (16, 0.5, "1 steps an epoch"),
        (96_000, 0.02, "187 steps an epoch"),
        (60_000, 0.002, "29 steps an epoch; about 4 rows of the rare class in each"),
    ],
)
def test_the_batch_size_says_how_many_steps_and_rare_rows_it_makes(rows: int, rarer: float, words: str) -> None:
    assert training_settings(size(rows, rarer))[0].comment == words


def wide(rows: int, fields: int, rarer: float = 0.5) -> Size:
    return Size(rows, rarer, fields, (rarer * (1 - rarer)) ** 0.5)


@pytest.mark.parametrize(
    ("rows", "fields", "is_wide"),
    [
        (100, 200, False),
        (100, 201, True),
        (20_099, 201, True),
        (20_100, 201, False),
        (300_000, 3_000, False),
        (299_999, 3_000, True),
        (100, 1, False),
    ],
)
def test_a_table_is_wide_if_it_has_over_200_fields_and_less_than_100_rows_for_each(
    rows: int, fields: int, is_wide: bool
) -> None:
    assert wide(rows, fields).is_wide is is_wide


def test_a_wide_table_gets_a_linear_model_whose_reason_names_rows_and_fields() -> None:
    (kind,) = model_settings(wide(1_700, 3_000))
    assert (kind.key, kind.value) == ("kind", "wide")
    assert kind.comment.startswith("1,700 train rows are few for 3,000 fields")


@pytest.mark.parametrize(("rows", "rarer", "l1"), [(1_700, 0.5, 41.0), (1_700, 0.05, 18.0), (160, 0.5, 13.0)])
def test_the_l1_of_a_wide_table_grows_with_the_root_of_rows_and_of_the_labels_variance(
    rows: int, rarer: float, l1: float
) -> None:
    settings = {setting.key: setting.value for setting in training_settings(wide(rows, 3_000, rarer))}
    assert settings["wide"] == {"learning_rate": 0.1, "l1": l1}
    assert "deep" not in settings
    # Two epochs leave nothing to stop.
    assert settings.get("early_stopping") == (None if settings["epochs"] == 2 else {"patience": 3})


@pytest.mark.parametrize(("rows", "rarer", "epochs"), [(999, 0.5, 2), (1_000, 0.5, 40), (9_999, 0.05, 2)])
def test_a_wide_table_with_too_few_valid_rows_of_a_class_to_choose_by_gets_two_epochs(
    rows: int, rarer: float, epochs: int
) -> None:
    settings = {setting.key: setting.value for setting in training_settings(wide(rows, 3_000, rarer))}
    assert settings["epochs"] == epochs
