"""Texts of one form in their one writing, and how a column's form is decided."""

from decimal import Decimal

import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from polars.testing import assert_series_equal

from widedeep.source.canonical import canonical_text
from widedeep.source.forms import Form, FormTally, add_columns, columns_in_forms, number_text, series_in_form


def form_of(texts: list[str | None]) -> Form | None:
    tally = FormTally()
    tally.add(pl.Series(texts, dtype=pl.String))
    return tally.form


def written(texts: list[str], form: Form) -> list[str | None]:
    return series_in_form(pl.Series(texts, dtype=pl.String), form).to_list()


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["12", "12.0"], "number"),
        (["-3", "0", "1e-07"], "number"),
        (["100000.0", "1e+05", "1E5", "-1.5E-7", "0E-8", "1.0E10"], "number"),
        (["100000", "10e4"], None),
        (["1234", "12e3", "1e05"], None),
        ([".5e3", "1"], None),
        (["5.00", "4.50"], "number"),
        (["4.0", "2.25"], "number"),
        (["007", "7"], None),
        (["00", "1"], None),
        (["1.10", "1.9"], None),
        (["1", "a"], None),
        (["1.0", None, ""], "number"),
        (["", "True", "False"], "boolean"),
        (["2024-01-05 00:00:00", ""], "time"),
        (["", "a"], None),
        (["", None], None),
        (["4.0", "inf", "NaN"], "number"),
        (["NaN"] * 200 + ["4.0"], "number"),
        (["inf", "nan"], None),
        (["+41", "2"], None),
        (["-", "."], None),
        (["True", "false", None], "boolean"),
        (["true", "1"], None),
        (["2024-01-05", "2024-01-05 10:00:00"], "time"),
        (["03:04:05", "03:04:05.5"], "time"),
        (["2024-01-05", "soon"], None),
        ([None], None),
        ([], None),
    ],
)
def test_a_column_has_the_form_that_all_its_texts_have(texts: list[str | None], form: Form | None) -> None:
    assert form_of(texts) == form
    assert form_of(texts[::-1]) == form
    tally = FormTally()
    for text in texts:
        tally.add(pl.Series([text], dtype=pl.String))
    assert tally.form == form


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("number", "4.0", "4"),
        ("number", "-0.0", "0"),
        ("number", "1e-07", "1e-7"),
        ("number", "1E5", "100000"),
        ("number", ".5", "0.5"),
        ("number", "5.00", "5"),
        ("number", "12345678901234567890", "12345678901234567890"),
        ("number", "0.1234567890123456789", "0.1234567890123456789"),
        ("number", "1e400", "1e400"),
        ("number", "new", "new"),
        ("number", "-Infinity", "-inf"),
        ("number", "NaN", None),
        ("number", "007", "007"),
        ("boolean", "TRUE", "true"),
        ("boolean", "maybe", "maybe"),
        ("time", "2024-01-05 00:00:00", "2024-01-05"),
        ("time", "2024-01-05T00:00:00.000000", "2024-01-05"),
        ("time", "2024-01-05 10:00", "2024-01-05T10:00:00"),
        ("time", "2024-01-05 10:00:00.5", "2024-01-05T10:00:00.500000"),
        ("time", "2024-01-05 10:00:00.123456789", "2024-01-05T10:00:00.123456789"),
        ("time", "2024-01-05T10:00:00+02:00", "2024-01-05T08:00:00Z"),
        ("time", "2024-01-05 10:00:00+00:00", "2024-01-05T10:00:00Z"),
        ("time", "2024-01-05 10:00:00.5-01", "2024-01-05T11:00:00.500000Z"),
        ("time", "03:04:05.000000", "03:04:05"),
        ("time", "soon", "soon"),
        ("time", "9999-12-31 00:00:00+00:00", "9999-12-31T00:00:00Z"),
        ("time", "1600-01-01 05:00:00.123456789+05:00", "1600-01-01T00:00:00.123456789Z"),
    ],
)
def test_a_text_stands_in_the_one_writing_of_its_form(form: Form, text: str, expected: str | None) -> None:
    assert written([text], form) == [expected]
    assert expected is None or written([expected], form) == [expected]
    # Beside texts that stand so already, too.
    assert written(["7", text, "true"], form)[1] == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_and_any_decimal_text_of_it_have_one_text(number: float) -> None:
    (canonical,) = pl.select(canonical_text(pl.lit(pl.Series([number])), pl.Float64())).to_series()
    for text in (repr(number), f"{number:.17e}" if number else "0e0", str(Decimal(repr(number)))):
        assume(abs(number) < 1e16)  # beyond, some write all digits of an integer, which are kept
        assert written([text], "number") == [canonical]


@given(st.integers(-(10**40), 10**40))
def test_an_integer_of_any_length_keeps_all_its_digits(number: int) -> None:
    assert written([str(number), f"{number}.0"], "number") == [str(number)] * 2


@given(st.text(max_size=12))
def test_what_python_reads_as_no_number_has_no_number_text(text: str) -> None:
    try:
        float(text)
    except ValueError:
        read = pl.DataFrame({"t": [text]}).select(number_text(pl.col("t"))).item()
        assert read is None


_TEXTS_OF_A_COLUMN = st.lists(
    st.none()
    | st.sampled_from(["1", "1.50", "nan", "inf", "true", "False", "2024-01-05", "12:30:00", "word", "", "-"]),
    max_size=4,
)


@given(st.lists(_TEXTS_OF_A_COLUMN, max_size=5))
def test_columns_looked_at_together_have_the_forms_that_each_has_alone(columns):
    tallies = [FormTally() for _ in columns]
    add_columns(zip(tallies, (pl.Series(texts, dtype=pl.String) for texts in columns), strict=True))
    assert [tally.form for tally in tallies] == [form_of(texts) for texts in columns]


_TEXTS = st.lists(
    st.sampled_from(
        [None, "", "1.0", "007", "1e5", "NaN", "TRUE", "false", "2024-01-05 00:00:00", "a long text of 21"]
    ),
    max_size=6,
)
_FORMS = st.sampled_from([None, "number", "boolean", "time"])


@given(st.lists(st.tuples(_TEXTS, _FORMS), max_size=8), st.integers(0, 6))
def test_columns_that_are_written_together_are_written_as_each_alone(
    drawn: list[tuple[list[str | None], Form | None]], short: int
) -> None:
    columns = {f"c{number}": pl.Series("name", texts, dtype=pl.String) for number, (texts, _) in enumerate(drawn)}
    of = {f"c{number}": form for number, (_, form) in enumerate(drawn) if form is not None}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("widedeep.source.forms._SHORT", short)
        together = columns_in_forms(columns, of)
    assert list(together) == list(columns)
    for name, texts in columns.items():
        assert_series_equal(together[name], series_in_form(texts, of.get(name)), check_names=False)
