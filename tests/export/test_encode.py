"""encode.py reads and encodes rows as widedeep does: one contract over all kinds of fields and odd values."""

import csv
import json
import random
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.errors import DataError
from widedeep.export.check import arrays_of
from widedeep.export.encode import Encoder
from widedeep.export.plan import exported_plan
from widedeep.scoring.scorer import Scorer
from widedeep.source.blocks import RawBlock, clean_texts
from widedeep.source.json_values import column_of

RECIPE = """\
name: every
data:
  train: log.csv
  label: click
  format: {missing: ["", "n/a"]}
  BAD
features:
  numeric:
    - {column: price, buckets: 4, transform: log1p}
    - {column: price, name: clipped, transform: standard, clip: [1, 6]}
    - {column: age, transform: minmax, clip: [null, 70]}
    - {column: rank, transform: none}
    - {column: share}
  categorical:
    - word
    - {column: code, min_count: 1}
    - {column: flag, min_count: 1}
    - {column: user, buckets: 30}
    - {column: age, name: exact_age, min_count: 1}
  multi_valued:
    - {column: tags, separator: "|", weight_separator: ":", max_length: 3}
    - {column: words, separator: " ", vocabulary: shared, pooling: max, min_count: 1}
    - {column: sites, separator: ";", buckets: 20, pooling: sum, vocabulary: other}
    - {column: sizes, separator: "|", min_count: 1, max_length: 2}
  date_time:
    - {column: seen, parts: [hour, weekday, day, part_of_day], since: born, buckets: 3}
    - {column: stamp, format: epoch_ms, parts: [hour]}
crosses:
  - [word, code]
  - {fields: [price, user], buckets: 50}
  - {fields: [tags, word], min_count: 1}
  - {fields: [tags, words, flag], min_count: 1}
  - {fields: [sites, tags], buckets: 40}
  - {fields: [age, flag], granularity: {age: 3}}
  - [seen.hour, word]
  - {fields: [seen.age, word], min_count: 1}
model:
  kind: wide_deep
  wide: {crosses: gradient}
  deep: {hidden: [4]}
training: {epochs: 1, batch_size: 128, threads: 1}
"""


@pytest.fixture(scope="module", params=["error", "missing"])
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    """A run whose recipe has fields of every kind, by what it does with a value that cannot be read."""
    from widedeep.pipeline.experiment import train
    from widedeep.recipe.load import load_recipe
    from widedeep.reporting import Reporter

    folder, draw = tmp_path_factory.mktemp("every"), random.Random(7)
    names = [
        "price",
        "age",
        "rank",
        "share",
        "word",
        "code",
        "flag",
        "user",
        "tags",
        "words",
        "sites",
        "sizes",
        "seen",
        "born",
        "stamp",
        "click",
    ]
    with (folder / "log.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for row in range(300):
            numbers = [round(draw.uniform(0, 9), 2), draw.randint(18, 80), draw.randint(-3, 3), draw.random()]
            texts = [
                draw.choice("abc"),
                draw.choice(["7", "4.5", "-0.25", "1e-7", "12"]),
                draw.choice(["true", "false"]),
            ]
            lists = [
                "|".join(f"{draw.choice('abcde')}:{draw.randint(0, 9)}" for _ in range(1 + row % 4)),
                " ".join(draw.choice("xyz") for _ in range(row % 3)),
                ";".join(draw.choice("pqr") for _ in range(1 + row % 2)),
                "|".join(draw.choice(["1", "2.5", "nan"]) for _ in range(1 + row % 3)),
            ]
            times = [
                f"2024-01-{1 + row % 28:02d} {row % 24:02d}:00:00",
                "2020-02-03",
                1_700_000_000_000 + row * 3_600_000,
            ]
            values = [*numbers, *texts, f"u{draw.randint(0, 60)}", *lists, *times]
            gaps = [value if draw.random() < 0.9 else "" for value in values]
            writer.writerow([*gaps, int(draw.random() < 0.4)])
    (folder / "every.yaml").write_text(RECIPE.replace("BAD", f"bad_numbers: {request.param}"))
    train(load_recipe(folder / "every.yaml"), folder, Reporter())
    return Scorer.load(folder / "runs" / "every" / "latest")


@pytest.fixture(scope="module")
def encoder(scorer: Scorer) -> Encoder:
    assert scorer.forms is not None
    plan = exported_plan(scorer.recipe, scorer.plan, scorer.layout, scorer.forms, scorer.source_kinds)
    return Encoder(json.loads(json.dumps(plan, allow_nan=False)))


def by_widedeep(scorer: Scorer, row: dict[str, Any]) -> dict[str, np.ndarray] | None:
    """The model's inputs of a row by the run's own typing and plan; None if it refuses the row."""
    typing = scorer.typing(labelled=False)
    frame = pl.DataFrame([column_of(name, [row[name]]) for name in typing.needed])
    block = RawBlock(clean_texts(frame, scorer.recipe.data.format), "rows", 0, 0)
    try:
        typed = typing.apply(block)
    except DataError:
        return None
    indices, numerics, lists, _ = scorer.encode_by_query(typed)
    return arrays_of(indices, numerics, lists)


def by_encoder(encoder: Encoder, row: dict[str, Any]) -> dict[str, np.ndarray] | None:
    try:
        return encoder([row])
    except ValueError:
        return None


GOOD = {
    "price": "3.5",
    "age": "30",
    "rank": "1",
    "share": ".5",
    "word": "a",
    "code": "7",
    "flag": "true",
    "user": "u1",
    "tags": "a:1|b:2",
    "words": "x y",
    "sites": "p",
    "sizes": "1|2.5",
    "seen": "2024-01-05 07:08:09",
    "born": "2020-02-03",
    "stamp": 1_700_000_000_000,
}
ODD_TEXTS = [
    *(
        "",
        " ",
        "n/a",
        " n/a ",
        "a",
        " a",
        "\N{NO-BREAK SPACE}b\t",
        "A",
        "é",
        "x y",
        "a|b",
        "true",
        "True",
        "FALSE",
        "nan",
        "NaN",
    ),
    *(
        "inf",
        "-Infinity",
        "7",
        "7.0",
        "07",
        "+7",
        "-7",
        "-0",
        "-0.0",
        "4.50",
        "4.5",
        ".5",
        "5.",
        "-.25",
        "1e-7",
        "1E-7",
    ),
    *(
        "0.0000001",
        "12e0",
        "1e3",
        "1000",
        "123456789012345678901.0",
        "0.12345678901234567890",
        "1e400",
        "1_0",
        "0x7",
        "1e",
    ),
    *("١", "--1", "1.2.3", "17000000000000000000000000000000000000000", "2.5", "30.0"),
]
ODD_NUMBERS = [
    0,
    1,
    -1,
    7,
    30,
    2**40,
    0.5,
    4.5,
    7.0,
    -0.25,
    -0.0,
    1e-5,
    9.9e-6,
    1e-7,
    1.5e16,
    1e22,
    3e38,
    1e300,
    2**64,
    -(10**30),
    10**400,
    25.25,
    True,
    False,
]
ODD_LISTS = [
    *(
        "a:1",
        "a:1|b:.5|c:1e1|d:2",
        "a:-1",
        "a:x",
        "a:",
        ":3",
        "a : 2 | b",
        "a:1:2",
        "a:1e39",
        "a||b",
        "|",
        "a:0",
        "a:nan",
    ),
    *("x  y z", "x x", "p;q;p", ";", "1|nan|2.50|3", "nan", "1.0|x|2", "2.5|2.5|1|7"),
    *(
        [],
        ["a"],
        ["a:2", "b"],
        ["x", None, "y"],
        [" x ", "", "n/a"],
        [1, 2.5],
        [1.0, 7],
        [True, False],
        [None],
        ["nan", "1"],
    ),
]
ODD_TIMES = [
    *(
        "2024-01-05",
        "2024-01-05T23:59:59.999999999Z",
        "2024-01-05 7:08",
        "2024-01-05T07:08:09,5+01:30",
        "2024-01-05T07:08+0530",
    ),
    *(
        "2024-01-05T00:00:00-03",
        "2024-02-30",
        "2024-01-05T24:00",
        "2024-1-5",
        "05.01.2024",
        "1704438489",
        "1704438489.75",
        "-5",
    ),
    *(
        "1e9",
        "1969-12-31T23:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        1704438489,
        1704438489.75,
        17,
        4.2e9,
        1.7e12,
        9e15,
        -1e14,
        -62135596800001,
        True,
    ),
]
ODD_OF = {name: [None, *ODD_TEXTS, *ODD_NUMBERS, *ODD_LISTS[-6:]] for name in GOOD}
ODD_OF |= {name: [*ODD_OF[name], *ODD_TIMES] for name in ("seen", "born", "stamp")}
ODD_OF |= {name: [*ODD_OF[name], *ODD_LISTS] for name in ("tags", "words", "sites", "sizes")}


@settings(max_examples=80)
@given(st.data())
def test_odd_rows_are_encoded_or_refused_as_by_the_run(scorer: Scorer, encoder: Encoder, data: st.DataObject) -> None:
    names = data.draw(st.lists(st.sampled_from(list(GOOD)), min_size=1, max_size=4, unique=True))
    row = {**GOOD, **{name: data.draw(st.sampled_from(ODD_OF[name])) for name in names}}
    check_row(scorer, encoder, row)


@pytest.mark.export
@pytest.mark.parametrize("column", GOOD)
def test_each_odd_value_in_each_column_is_encoded_or_refused_as_by_the_run(
    column: str, scorer: Scorer, encoder: Encoder
) -> None:
    for value in ODD_OF[column]:
        check_row(scorer, encoder, {**GOOD, column: value})


def check_row(scorer: Scorer, encoder: Encoder, row: dict[str, Any]) -> None:
    wanted, encoded = by_widedeep(scorer, row), by_encoder(encoder, row)
    assert (encoded is None) == (wanted is None), {name: row[name] for name in row if row[name] != GOOD[name]}
    if wanted is None or encoded is None:
        return
    assert encoded.keys() == wanted.keys()
    for name, array in wanted.items():
        told = f"{name} of { ({name: row[name] for name in row if row[name] != GOOD[name]}) }"
        assert (encoded[name].dtype, encoded[name].shape) == (array.dtype, array.shape), told
        np.testing.assert_allclose(encoded[name], array, rtol=1e-6 if array.dtype == np.float32 else 0, err_msg=told)


def test_rows_of_one_request_are_encoded_as_each_alone(encoder: Encoder) -> None:
    rows = [GOOD, {**GOOD, "tags": None, "words": "z"}, {**GOOD, "sizes": [2.5], "price": None}]

    together, alone = encoder(rows), [encoder([row]) for row in rows]

    for name, array in together.items():
        if name.startswith("bounds"):
            assert np.diff(array).tolist() == [length for each in alone for length in np.diff(each[name]).tolist()]
        else:
            np.testing.assert_array_equal(array, np.concatenate([each[name] for each in alone]))


def test_a_column_that_no_row_has_is_refused_by_name(encoder: Encoder) -> None:
    row = {name: value for name, value in GOOD.items() if name != "born"}

    with pytest.raises(ValueError, match="no row has the column 'born': send null where its value is missing"):
        encoder([row])


def test_a_plan_of_another_format_is_refused(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=r"plan\.json has format 2, this encode.py reads 1: take its own"):
        Encoder({**encoder.plan, "format": 2})


def test_a_refused_value_is_told_with_its_column(encoder: Encoder) -> None:
    with pytest.raises(ValueError, match=r"column 'word': \['a'\]: must be one value, is a list"):
        encoder([{**GOOD, "word": ["a"]}])
