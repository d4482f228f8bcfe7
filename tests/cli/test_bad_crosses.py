"""What is wrong with a recipe's crosses is told in one line each: file, line, rule, value, what to do; exit code 2."""

from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., tuple[int, str, str]]

RECIPE = """\
data: {train: log.csv, label: click}
features:
  numeric: [I1, {column: I2, buckets: 5}]
  categorical: [C5, city]
crosses:
  - [C5, I2]
"""


@pytest.mark.parametrize(
    ("cross", "told"),
    [
        ("[C5, citty]", "crosses.1.fields.1: no field is named 'citty'; did you mean 'city'?"),
        ("[c5, city]", "crosses.1.fields.0: no field is named 'c5'; did you mean 'C5'?"),
        (
            "[C5, other]",
            "crosses.1.fields.1: no field is named 'other'; a cross takes names of fields under `features`",
        ),
        (
            "[C5, I1]",
            "crosses.1.fields.1: 'I1' is numeric and not cut into buckets: give it `buckets` at features.numeric.0 "
            "(line 3), or the cross a `granularity`, such as {'I1': 10}",
        ),
        ("[C5, C5]", "crosses.1: names the field 'C5' twice: a cross is of different fields, keep one"),
        ("[C5, I2]", "crosses.1: the same cross as crosses.0 (line 6), whatever the order: keep one"),
        ("[I2, C5]", "crosses.1: the same cross as crosses.0 (line 6), whatever the order: keep one"),
        (
            "{fields: [C5, city], buckets: 0}",
            "crosses.1.buckets: must be a whole number from 1 to 2147483645, or auto, is 0",
        ),
        (
            "{fields: [C5, city], buckets: 1099511627776}",
            "crosses.1.buckets: must be a whole number from 1 to 2147483645, or auto, is 1099511627776",
        ),
        (
            "{fields: [C5, city], buckets: 2.5}",
            "crosses.1.buckets: must be a whole number from 1 to 2147483645, or auto, is 2.5",
        ),
        (
            "{fields: [C5, city], buckets: 9, min_count: 3}",
            "crosses.1: `buckets` hashes; `min_count` and `max_size` belong to a vocabulary: keep one way",
        ),
        (
            "{fields: [I1, city], granularity: {i1: 8}}",
            "crosses.1.granularity.i1: the cross has no field 'i1'; did you mean 'I1'?",
        ),
        (
            "{fields: [I1, city], granularity: {I1: 8, C5: 8}}",
            "crosses.1.granularity.C5: the cross has no field 'C5'; its numeric fields are I1",
        ),
        (
            "{fields: [C5, city], granularity: {C5: 8}}",
            "crosses.1.granularity.C5: 'C5' at features.categorical.0 (line 4) is no number: a granularity cuts numbers "
            "into buckets, take it out here",
        ),
        ("{fields: [I1, city], granularity: {I1: 1}}", "crosses.1.granularity.I1: must be at least 2, is 1"),
        (
            "{fields: [I1, city], granularity: {I1: 10001}}",
            "crosses.1.granularity.I1: must be at most 10000, is 10001",
        ),
        (
            "{fields: [I1, city], granularity: {I1: ten}}",
            "crosses.1.granularity.I1: must be a whole number, is the text 'ten'",
        ),
        (
            "{fields: [I1, city], granularity: 8}",
            "crosses.1.granularity: must be a section of names and values, is 8",
        ),
        ("[C5]", "crosses.1.fields: must have at least 2 entries, has 1"),
        ("C5 x city", "crosses.1: a cross is a list of two or more names, such as [a, b], is the text 'C5 x city'"),
        ("{fields: [C5, city], promised: [1, 2, 3, 4]}", "crosses.1.promised: must have at most 3 entries, has 4"),
    ],
)
def test_a_bad_cross_is_told_in_one_line(cross: str, told: str, tmp_path: Path, widedeep: CommandLine) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"{RECIPE}  - {cross}\n")
    code, out, err = widedeep("crosses", path)
    assert (code, out, err) == (2, "", f"widedeep: error: {path}:7: {told}\n")


def test_bucket_counts_of_fields_have_the_same_bounds(tmp_path: Path, widedeep: CommandLine) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(RECIPE.replace("city]", "{column: city, buckets: 4294967296}]"))
    code, _, err = widedeep("crosses", path)
    assert code == 2
    assert f"{path}:4: features.categorical.1.buckets: must be a whole number from 1 to 2147483645, or auto" in err


def test_crosses_whose_values_would_not_fit_into_memory_are_refused_before_any_is_learnt(
    tmp_path: Path, widedeep: CommandLine
) -> None:
    path = tmp_path / "huge.yaml"
    rows = "".join(f"{i % 2},{i % 7},{i % 5},{i},{i}\n" for i in range(40))
    (tmp_path / "log.csv").write_text("click,C5,city,I1,I2\n" + rows)
    path.write_text(f"{RECIPE}  - {{fields: [C5, city], buckets: 1000000000}}\n")
    code, out, err = widedeep("train", path, "--work", tmp_path)
    assert (code, out) == (2, "")
    assert (
        "crosses: with 10 folds their values take 47 GiB, and 8 GiB is the most; the largest is C5 x city with" in err
    )
    assert "give it fewer `buckets` or a larger `min_count`, or set `model.wide.crosses: gradient`" in err
