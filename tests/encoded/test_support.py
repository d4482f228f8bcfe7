"""Support of indices: exact counts, whatever the blocks, from a store or from typed rows."""

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from widedeep.encoded import support
from widedeep.encoded.store import EncodedStore, write_stores
from widedeep.features.fit import fit_plan
from widedeep.features.plan import FeaturePlan
from widedeep.features.targets import stored_targets
from widedeep.recipe.schema import CrossSettings, FeatureSettings
from widedeep.reporting import Reporter
from widedeep.table.typed_columns import LABEL

TYPED = pl.DataFrame(
    {
        LABEL: pl.Series([1, 0, 1, 1, 0, 0, 1], dtype=pl.Float32),
        "city": ["x", "y", None, "x", "x", "y", "rare"],
        "tags@values": [["a", "a", "b"], ["b"], None, ["a"], ["b", "a"], None, ["b", "b"]],
    }
)


@pytest.fixture
def plan(tmp_path: Path) -> FeaturePlan:
    return fit_plan(
        FeatureSettings.model_validate(
            {"categorical": [{"column": "city"}], "multi_valued": [{"column": "tags", "separator": "|"}]}
        ),
        [CrossSettings(fields=("city", "tags"), min_count=1)],
        lambda: iter([TYPED]),
        spill_dir=tmp_path,
        reporter=Reporter(),
        total_rows=None,
    )


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_support_and_positives_are_those_of_a_literal_count_for_any_blocks(
    plan: FeaturePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    encoded = plan.encode(TYPED)
    write_stores([(tmp_path / "store", [encoded.hstack(stored_targets(TYPED))])], shard_rows=3)
    monkeypatch.setattr(support, "_BLOCK_ROWS", rows)
    columns = plan.index_columns
    from_store = support.Support(columns, support.stored_blocks(EncodedStore.open(tmp_path / "store"), columns))
    from_rows = support.Support(columns, support.encoded_blocks(plan, columns, TYPED.iter_slices(rows)))
    for column in columns:
        held, positives = Counter[int](), Counter[int]()
        for indices, label in zip(encoded[column.name], TYPED[LABEL], strict=True):
            for index in {indices} if isinstance(indices, int) else set(indices):
                held[index] += 1
                positives[index] += int(label)
        for counted in (from_store, from_rows):
            assert counted.rows[column.name].tolist() == [held[i] for i in range(column.size)]
            assert counted.label_sums[column.name].tolist() == [positives[i] for i in range(column.size)]
            assert (counted.num_rows, counted.label_sum) == (7, 4.0)
