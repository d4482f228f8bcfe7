"""The plan: fitted on train rows in any order, encoded row by row, kept without loss."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from coded_frames import coded
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.artefacts import digest_of_bytes
from widedeep.errors import ArtefactError
from widedeep.features.fields import FittedCross
from widedeep.features.fit import fit_plan
from widedeep.features.moments import Moments
from widedeep.features.plan import PLAN_FORMAT, FeaturePlan
from widedeep.features.quantiles import QuantileGrid
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter
from widedeep.source.coded import Cells, CodedRows

FEATURES = FeatureSettings.model_validate(
    {
        "numeric": [
            {"column": "price", "buckets": 4},
            {"column": "age", "transform": "standard"},
            {"column": "views", "transform": "log1p"},
        ],
        "categorical": ["color", {"column": "user", "buckets": 7}, {"column": "shape", "min_count": 1, "max_size": 2}],
    }
)
CROSSES = [
    CrossSettings.model_validate(cross)
    for cross in (
        {"fields": ["shape", "color"], "min_count": 1},
        {"fields": ["color", "price"], "buckets": 11},
        {"fields": ["color", "user", "shape"], "min_count": 2},
    )
]


def table(rows: int = 500, seed: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "price": [None if draw.random() < 0.1 else float(x) for x in draw.lognormal(size=rows).round(2)],
            "age": draw.integers(18, 80, rows).astype(np.float64),
            "views": draw.pareto(1.0, rows) * 100 - 20,
            "color": [
                [None, "", "red", "blue", "rare" if i == 7 else "red"][k]
                for i, k in enumerate(draw.integers(0, 5, rows))
            ],
            "user": [f"u{k}" for k in draw.integers(0, 60, rows)],
            "shape": [["round", "flat", "square"][k] for k in draw.choice(3, rows, p=[0.5, 0.3, 0.2])],
        }
    )


def fitted(frame: pl.DataFrame, tmp_path: Path, block_rows: int = 10_000) -> FeaturePlan:
    def blocks() -> Iterator[pl.DataFrame]:
        return frame.iter_slices(block_rows)

    return fit_plan(FEATURES, CROSSES, blocks, spill_dir=tmp_path, reporter=Reporter(), total_rows=None)


def test_fitting_gives_one_digest_for_any_blocks_and_row_order(tmp_path: Path) -> None:
    frame = table()
    digest = fitted(frame, tmp_path).digest
    assert fitted(frame, tmp_path, block_rows=37).digest == digest
    assert fitted(frame.sample(fraction=1, shuffle=True, seed=3), tmp_path, block_rows=101).digest == digest
    changed = frame.with_columns(age=pl.when(pl.int_range(pl.len()) == 5).then(99.0).otherwise("age"))
    assert fitted(changed, tmp_path).digest != digest


def test_rows_whose_values_are_coded_give_the_same_plan_and_encoding(tmp_path: Path) -> None:
    frame = table()
    plan = fitted(frame, tmp_path)
    blocks = [coded(frame[:200]), CodedRows(frame[200:300]), coded(frame[300:])]
    assert blocks[0].decoded().equals(frame[:200])
    by_value = fit_plan(
        FEATURES, CROSSES, lambda: iter(blocks), spill_dir=tmp_path, reporter=Reporter(), total_rows=None
    )
    assert by_value.digest == plan.digest
    encoded = pl.concat([plan.encode(block) for block in blocks])
    assert encoded.equals(plan.encode(frame).select(encoded.columns))
    assert set(encoded.columns) == set(plan.encode(frame).columns)


@pytest.mark.parametrize("seed", range(3))
def test_encoding_is_per_row_whatever_the_chunks_and_the_order(seed: int, tmp_path: Path) -> None:
    plan, rows = fitted(table(), tmp_path), table(300, seed=10 + seed)
    whole = plan.encode(rows)
    assert whole.equals(pl.concat([plan.encode(part) for part in rows.iter_slices(41)]))
    order = np.random.default_rng(seed).permutation(len(rows))
    assert whole[order].equals(plan.encode(rows[order]))


def test_indices_are_int32_and_numbers_float32_in_the_columns_that_the_plan_names(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path)
    encoded = plan.encode(table(100, seed=5))
    names = [column.name for column in plan.index_columns]
    assert names == [
        "color",
        "user",
        "shape",
        "price\x01buckets",
        "color x shape",
        "color x price",
        "color x shape x user",
    ]
    assert plan.numeric_columns == ("price", "price\x01missing", "age", "views")
    assert set(encoded.select(names).dtypes) == {pl.Int32}
    assert set(encoded.select(plan.numeric_columns).dtypes) == {pl.Float32}
    assert encoded.null_count().sum_horizontal().item() == 0
    for column in plan.index_columns:
        assert encoded[column.name].max() < column.size, column.name


def test_indices_are_missing_unknown_then_by_count_and_bytes(tmp_path: Path) -> None:
    color = ["b", "b", "a", "a", "é", "é", "é", "", "", "once", None]
    frame = pl.DataFrame({"color": color})
    features = FeatureSettings.model_validate({"categorical": [{"column": "color", "min_count": 2}]})
    plan = fit_plan(features, (), lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
    seen = pl.DataFrame({"color": ["é", "", "a", "b", "once", "new", None]})
    assert plan.encode(seen)["color"].to_list() == [2, 3, 4, 5, 1, 1, 0]
    assert plan.count_unseen(seen, plan.encode(seen)) == {"color": {"missing": 1, "unseen": 2}}


def test_the_encoding_of_a_few_rows_is_recorded(tmp_path: Path) -> None:
    rows = pl.DataFrame(
        {
            "price": [1.0, None, 0.2],
            "age": [40.0, 18.0, 79.0],
            "views": [0.0, -10.0, 1e6],
            "color": ["red", None, "mauve"],
            "user": ["u1", "u2", None],
            "shape": ["flat", "round", "square"],
        }
    )
    encoded = fitted(table(), tmp_path).encode(rows)
    recorded = json.loads(Path(__file__).with_name("golden_encoding.json").read_text())
    for name, values in recorded.items():
        assert encoded[name].to_list() == pytest.approx(values, rel=1e-6), name


def test_a_cross_is_never_missing_and_a_rare_value_keeps_its_identity_inside_it(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", "rare1", "rare2", "x"], "b": ["1", "1", "1", None]})
    features = FeatureSettings.model_validate({"categorical": [{"column": "a", "min_count": 2}, "b"]})
    crosses = [CrossSettings.model_validate({"fields": ["a", "b"], "min_count": 1})]
    plan = fit_plan(features, crosses, lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
    encoded = plan.encode(frame)
    assert encoded["a"].to_list()[1:3] == [1, 1]
    assert sorted(encoded["a x b"].to_list()) == [2, 3, 4, 5]


def test_empty_vocabularies_and_the_largest_bucket_count_encode(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", "y", None], "b": ["1", "2", "3"]})
    features = FeatureSettings.model_validate({"categorical": ["a", {"column": "b", "buckets": 2**31 - 3}]})
    crosses = [CrossSettings.model_validate({"fields": ["a", "b"]})]
    plan = fit_plan(features, crosses, lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
    encoded = plan.encode(frame)
    assert encoded["a"].to_list() == [1, 1, 0]
    assert encoded["a x b"].to_list() == [1, 1, 1]
    assert encoded["b"].min() >= 2


def test_a_saved_plan_encodes_alike_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path)
    plan.save(tmp_path / "plan")
    loaded = FeaturePlan.load(tmp_path / "plan")
    assert loaded.digest == plan.digest
    assert loaded.encode(table(50, seed=9)).equals(plan.encode(table(50, seed=9)))
    facts = json.loads((tmp_path / "plan" / "plan.json").read_text())
    for damage in ({**facts, "format": 99}, {**facts, "digest": "0"}, {"format": 1}):
        (tmp_path / "plan" / "plan.json").write_text(json.dumps(damage))
        with pytest.raises(ArtefactError):
            FeaturePlan.load(tmp_path / "plan")
    (tmp_path / "plan" / "plan.json").write_text(json.dumps(facts))
    vocabulary = next((tmp_path / "plan" / "vocabularies").iterdir())
    vocabulary.write_bytes(vocabulary.read_bytes()[:50])
    with pytest.raises(ArtefactError):
        FeaturePlan.load(tmp_path / "plan")


@pytest.mark.parametrize(("most", "num_files"), [(0, 6), (1 << 20, 2)])
def test_vocabularies_are_read_as_they_were_however_many_share_a_file(
    most: int, num_files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = fitted(table(), tmp_path)
    monkeypatch.setattr("widedeep.features.plan._VALUES_TOGETHER", most)
    plan.save(tmp_path / "plan")
    assert len(list((tmp_path / "plan" / "vocabularies").iterdir())) == num_files
    loaded = FeaturePlan.load(tmp_path / "plan")
    assert loaded.digest == plan.digest
    for fields in (plan.categoricals, plan.crosses):
        for field in fields:
            (again,) = [f for f in (*loaded.categoricals, *loaded.crosses) if f.name == field.name]
            assert again.vocabulary.equals(field.vocabulary)
    assert loaded.encode(table(50, seed=9)).equals(plan.encode(table(50, seed=9)))


def of_evicting_runs(plan: FeaturePlan) -> FeaturePlan:
    """The plan whose vocabularies say how long values are unseen, but for those of fields that are hashed."""
    runs = pl.int_range(pl.len(), dtype=pl.Int32).alias("unseen_runs")
    return replace(
        plan,
        categoricals=tuple(
            replace(field, vocabulary=field.vocabulary.with_columns(runs)) if field.buckets is None else field
            for field in plan.categoricals
        ),
    )


def require_files(plan: FeaturePlan, folder: Path, names: set[str]) -> None:
    """The plan's vocabularies are in files of these names, and are read as they were."""
    plan.save(folder)
    assert {path.name for path in (folder / "vocabularies").iterdir()} == names
    loaded = FeaturePlan.load(folder)
    assert loaded.digest == plan.digest
    for again, field in zip(loaded.categoricals, plan.categoricals, strict=True):
        assert again.vocabulary.equals(field.vocabulary)
        assert again.vocabulary.schema == field.vocabulary.schema


def test_vocabularies_that_say_how_long_values_are_unseen_share_a_file_whatever_hashed_fields_lie_between(
    tmp_path: Path,
) -> None:
    plain = fitted(table(), tmp_path)
    plan = of_evicting_runs(plain)
    assert [field.buckets is None for field in plan.categoricals] == [True, False, True]
    assert plan.digest != plain.digest
    require_files(plan, tmp_path / "between", {"field-0000.arrow", "cross-0000.arrow"})
    counted, hashed, last = plan.categoricals
    first = replace(plan, categoricals=(hashed, counted, last))
    require_files(first, tmp_path / "first", {"field-0000.arrow", "cross-0000.arrow"})


def test_vocabularies_that_say_how_long_values_are_unseen_lie_apart_from_such_as_do_not(tmp_path: Path) -> None:
    plain = fitted(table(), tmp_path)
    plan = replace(plain, categoricals=(of_evicting_runs(plain).categoricals[0], *plain.categoricals[1:]))
    require_files(plan, tmp_path / "plan", {"field-0000.arrow", "field-0002.arrow", "cross-0000.arrow"})


@pytest.mark.parametrize("evicts", [False, True])
def test_the_digest_of_a_plan_is_that_of_its_facts_in_format_1_and_of_the_lines_of_its_vocabularies(
    evicts: bool, tmp_path: Path
) -> None:
    plan = fitted(table(), tmp_path)
    if evicts:
        plan = of_evicting_runs(plan)
    digest = hashlib.blake2b(json.dumps({"format": 1, **plan._facts()}, sort_keys=True).encode(), digest_size=16)
    for field in (*plan.categoricals, *plan.crosses):
        for row in field.vocabulary.iter_rows():
            digest.update(pl.DataFrame({"value": ["\0".join(map(str, row))]}).write_ndjson().encode())
    assert plan.digest == digest.hexdigest()


def test_a_file_of_counts_that_lacks_what_vocabularies_have_is_refused_in_each_format(tmp_path: Path) -> None:
    fitted(table(), tmp_path).save(tmp_path / "plan")
    path, file = tmp_path / "plan" / "plan.json", tmp_path / "plan" / "vocabularies" / "field-0000.arrow"
    facts = json.loads(path.read_text())
    values = pl.read_ipc(file.read_bytes())
    for wrong in (values.drop("count"), values.with_columns(unseen_runs=pl.lit(-1, pl.Int32))):
        wrong.write_ipc(file)
        facts["checksums"][file.name] = digest_of_bytes(file.read_bytes())
        for format_ in (1, 2):
            path.write_text(json.dumps({**facts, "format": format_}))
            with pytest.raises(ArtefactError, match=r"holds no counts|does not say how long"):
                FeaturePlan.load(tmp_path / "plan")


def test_a_file_that_is_noted_to_hold_fields_and_crosses_is_refused(tmp_path: Path) -> None:
    fitted(table(), tmp_path).save(tmp_path / "plan")
    path = tmp_path / "plan" / "plan.json"
    facts = json.loads(path.read_text())
    facts["sizes"]["field-0000.arrow"] += [0, 0, 0]
    path.write_text(json.dumps(facts))
    with pytest.raises(ArtefactError, match="both fields and crosses"):
        FeaturePlan.load(tmp_path / "plan")


def test_a_plan_of_format_1_with_a_file_for_each_vocabulary_is_read(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path)
    plan.save(tmp_path / "plan")
    folder = tmp_path / "plan" / "vocabularies"
    checksums = {}
    for name, vocabulary in plan._vocabularies():
        vocabulary.write_ipc(folder / name)
        checksums[name] = digest_of_bytes((folder / name).read_bytes())
    facts = json.loads((tmp_path / "plan" / "plan.json").read_text())
    del facts["sizes"]
    (tmp_path / "plan" / "plan.json").write_text(json.dumps({**facts, "format": 1, "checksums": checksums}))
    loaded = FeaturePlan.load(tmp_path / "plan")
    assert loaded.digest == plan.digest
    assert loaded.encode(table(50, seed=9)).equals(plan.encode(table(50, seed=9)))


@pytest.mark.parametrize("sizes", [[], [1], [-1, 1], ["all"], None])
def test_a_file_that_holds_other_vocabularies_than_are_noted_is_refused(sizes: object, tmp_path: Path) -> None:
    fitted(table(), tmp_path).save(tmp_path / "plan")
    path = tmp_path / "plan" / "plan.json"
    facts = json.loads(path.read_text())
    facts["sizes"]["field-0000.arrow"] = sizes
    path.write_text(json.dumps(facts))
    with pytest.raises(ArtefactError, match=r"plan\.json"):
        FeaturePlan.load(tmp_path / "plan")


@given(st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=200), st.integers(1, 50))
@settings(max_examples=60)
def test_moments_and_quantiles_do_not_depend_on_order_or_blocks(values: list[float], block: int) -> None:
    array = np.array(values)
    whole, parts = (Moments(), QuantileGrid(max_cells=16)), (Moments(), QuantileGrid(max_cells=16))
    for statistic in whole:
        statistic.add(array)
    for start in range(0, len(array), block):
        for statistic in parts:
            statistic.add(array[::-1][start : start + block])
    assert whole[0].mean() == parts[0].mean() == pytest.approx(array.mean(), rel=1e-9, abs=1e-3)
    assert whole[0].deviation() == parts[0].deviation() == pytest.approx(array.std(), rel=1e-6, abs=1e-2)
    assert whole[1].cut_points(7) == parts[1].cut_points(7)


def test_the_cdf_is_quantile_number_over_quantiles_minus_one(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [float(i) for i in range(100)]})
    features = FeatureSettings.model_validate({"numeric": [{"column": "x", "quantiles": 5}]})
    plan = fit_plan(features, (), lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
    rows = pl.DataFrame({"x": [-9.0, 0.0, 25.0, 50.0, 75.0, 99.0, 1e9, None]})
    assert plan.encode(rows)["x"].to_list() == [0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 0.5]


def test_a_value_of_over_half_of_the_rows_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    frame = pl.DataFrame({"gain": [0.0] * 90 + [float(i) for i in range(1, 11)]})
    features = FeatureSettings.model_validate({"numeric": [{"column": "gain", "buckets": 6}]})
    plan = fit_plan(features, (), lambda: iter([frame]), spill_dir=tmp_path, reporter=Reporter(), total_rows=None)
    buckets = plan.encode(frame)["gain\x01buckets"].to_list()
    assert set(buckets[:90]) == {buckets[0]}
    assert buckets[0] not in buckets[90:]
    assert len(set(buckets[90:])) == 5


def plan_for(
    features: dict[str, object], frame: pl.DataFrame, spill_dir: Path, crosses: tuple[str, ...] = ()
) -> FeaturePlan:
    settings_ = FeatureSettings.model_validate(features)
    cross = [CrossSettings.model_validate({"fields": crosses, "min_count": 1})] if crosses else []
    return fit_plan(settings_, cross, lambda: iter([frame]), spill_dir=spill_dir, reporter=Reporter(), total_rows=None)


@pytest.mark.parametrize("transform", ["standard", "log1p", "cdf", "none"])
def test_the_largest_numbers_stay_finite(transform: str, tmp_path: Path) -> None:
    plan = plan_for(
        {"numeric": [{"column": "x", "transform": transform}]}, pl.DataFrame({"x": [1.0, 2.0, 3.0]}), tmp_path
    )
    encoded = plan.encode(pl.DataFrame({"x": [1e300, -1.7e308, 5e-324]}))["x"]
    assert encoded.is_finite().all()
    assert (encoded**2).is_finite().all()


def test_numbers_missing_only_after_train_are_counted(tmp_path: Path) -> None:
    plan = plan_for({"numeric": ["x"]}, pl.DataFrame({"x": [1.0, 2.0]}), tmp_path)
    rows = pl.DataFrame({"x": [None, 1.0, None]})
    assert plan.count_unseen(rows, plan.encode(rows)) == {"x": {"missing": 2, "unseen": 0}}


def test_a_field_that_is_called_as_a_cross_is_another_input(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", "x"], "b": ["y", "y"], "a x b": ["z", None]})
    encoded = plan_for({"categorical": ["a", "b", "a x b"]}, frame, tmp_path, ("a", "b")).encode(frame)
    assert encoded["a x b"].to_list() == [1, 0]
    assert encoded["a x b\x01"].to_list() == [2, 2]


def test_a_column_of_any_name_leaves_crosses_alone(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["x", "x"], "b": ["y", "y"], "hash of a": ["q", "q"]})
    plan = plan_for({"categorical": ["a", "b", "hash of a"]}, frame, tmp_path, ("a", "b"))
    assert plan.encode(frame).row(0) == (2, 2, 2, 2)


def test_every_damaged_byte_of_a_vocabulary_is_noticed_before_it_is_parsed(tmp_path: Path) -> None:
    plan = fitted(table(), tmp_path)
    plan.save(tmp_path / "plan")
    file = tmp_path / "plan" / "vocabularies" / "field-0000.arrow"
    content = file.read_bytes()
    for place in range(0, len(content), 37):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :])
        with pytest.raises(ArtefactError, match="damaged"):
            FeaturePlan.load(tmp_path / "plan")


def test_the_order_of_a_crosss_fields_in_the_recipe_is_of_no_matter(tmp_path: Path) -> None:
    frame = table()
    features: dict[str, object] = {"categorical": ["color", "user", "shape"]}
    plans = [plan_for(features, frame, tmp_path, order) for order in (("color", "user"), ("user", "color"))]
    assert plans[0].digest == plans[1].digest


def test_a_bucketed_number_brings_its_bucket_into_a_cross(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0, 4.0, None], "c": ["a"] * 5})
    plan = plan_for({"numeric": [{"column": "x", "buckets": 2}], "categorical": ["c"]}, frame, tmp_path, ("x", "c"))
    encoded = plan.encode(frame)
    assert encoded["x\x01buckets"].to_list() == [2, 2, 3, 3, 0]
    crossed = encoded["c x x"].to_list()
    assert crossed[0] == crossed[1] != crossed[2] == crossed[3]
    # The missing bucket is a value of its own.
    assert sorted({*crossed}) == [2, 3, 4]
    assert crossed[4] == 4


@pytest.mark.parametrize("as_read", [CodedRows, coded])
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_vocabularies_and_cuts_of_one_entry_encode_any_number_of_rows(
    rows: int, as_read: Callable[[pl.DataFrame], CodedRows], tmp_path: Path
) -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0], "c": ["a", "a"], "d": ["b", "b"]})
    features: dict[str, object] = {"numeric": [{"column": "x", "buckets": 2}], "categorical": ["c", "d"]}
    plan = plan_for(features, frame, tmp_path, ("c", "d"))
    assert len(plan.crosses[0].vocabulary) == len(plan.categoricals[0].vocabulary) == 1
    encoded = plan.encode(as_read(frame.head(rows)))
    assert encoded["c"].to_list() == [2, 2][:rows]
    assert encoded["c x d"].to_list() == [2, 2][:rows]
    assert encoded["x\x01buckets"].to_list() == [2, 3][:rows]
    unseen = plan.encode(as_read(frame.head(rows).with_columns(c=pl.lit("z"))))
    assert unseen["c"].to_list() == unseen["c x d"].to_list() == [1, 1][:rows]


@given(
    st.lists(st.none() | st.integers(-3, 3).map(float) | st.floats(-1e9, 1e9), min_size=1, max_size=40),
    st.lists(st.floats(-2e9, 2e9), min_size=2, max_size=20),
    st.integers(2, 20),
)
@settings(max_examples=60)
def test_the_cdf_lies_in_0_to_1_and_never_falls(
    tmp_path_factory: pytest.TempPathFactory, train: list[float | None], seen: list[float], quantiles: int
) -> None:
    frame = pl.DataFrame({"x": train}, schema={"x": pl.Float64})
    plan = plan_for({"numeric": [{"column": "x", "quantiles": quantiles}]}, frame, tmp_path_factory.getbasetemp())
    scaled = plan.encode(pl.DataFrame({"x": sorted(seen)}))["x"].to_list()
    assert scaled == sorted(scaled)
    assert scaled[0] >= 0.0
    assert scaled[-1] <= 1.0


@pytest.mark.parametrize("column", ["price", "age", "views", "color", "shape"])
def test_one_changed_train_value_changes_the_digest(column: str, tmp_path: Path) -> None:
    frame = table()
    # The least value, so that neither its quantile nor its count can stay as it was.
    row = int(frame[column].arg_sort(nulls_last=True)[0])
    value = pl.lit(1e5) if frame.schema[column] == pl.Float64 else pl.lit("red" if column == "color" else "round")
    changed = frame.with_columns(pl.when(pl.int_range(pl.len()) == row).then(value).otherwise(column).alias(column))
    assert not changed.equals(frame)
    digests = {fitted(rows, tmp_path).digest for rows in (frame, changed)}
    assert len(digests) == 2


def test_a_missing_plan_and_one_of_a_newer_format_are_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"plan\.json"):
        FeaturePlan.load(tmp_path / "none")
    fitted(table(), tmp_path).save(tmp_path / "plan")
    path = tmp_path / "plan" / "plan.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": PLAN_FORMAT + 1}))
    with pytest.raises(ArtefactError, match="newer widedeep"):
        FeaturePlan.load(tmp_path / "plan")


def test_a_cross_of_coded_columns_is_looked_up_for_its_combinations_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table()
    plan, looked_up = fitted(frame, tmp_path), []
    by_rows = plan.encode(frame)
    ranks = FittedCross._ranks
    monkeypatch.setattr(
        FittedCross, "_ranks", lambda cross, mixes: looked_up.append((cross.fields, len(mixes))) or ranks(cross, mixes)
    )
    rows = coded(frame)
    assert pl.concat(plan.encode(block) for block in rows.slices(100)).equals(by_rows)
    cells = len(rows.values["color"]) * len(rows.values["shape"])
    assert [size for fields, size in looked_up if len(fields) == 2] == [cells]  # once for all slices
    assert [size for fields, size in looked_up if len(fields) == 3] == [100] * 5  # of too many combinations


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.data())
def test_combinations_are_numbered_without_gaps_and_tell_their_values(sizes: list[int], data: st.DataObject) -> None:
    codes = [data.draw(st.lists(st.integers(0, size - 1), min_size=3, max_size=3)) for size in sizes]
    cells = Cells([pl.Series(column, dtype=pl.UInt8) for column in codes], sizes)
    assert [position.tolist() for position in cells.positions(cells.of_rows())] == codes
    every = np.arange(cells.count, dtype=np.uint32)
    assert len(set(zip(*(position.tolist() for position in cells.positions(every)), strict=True))) == cells.count


def test_columns_that_are_not_coded_or_have_too_many_values_have_no_combinations() -> None:
    rows = CodedRows(
        pl.DataFrame(
            {"a": [0, 1], "b": [1, 0], "c": ["x", "y"]}, schema={"a": pl.UInt8, "b": pl.UInt8, "c": pl.String}
        ),
        {"a": pl.Series(["p", "q"]), "b": pl.Series([*"rstuv"])},
    )
    assert rows.cells(["a"]) is not None
    assert rows.cells(["a", "b"]) is None  # 10 of 2 rows
    assert rows.cells(["a", "c"]) is None
