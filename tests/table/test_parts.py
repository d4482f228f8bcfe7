"""The typed table on disk: rows come back as they went in, in order; texts are coded where that saves something."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep.files import syncing
from widedeep.source.coded import CodedRows
from widedeep.table import parts
from widedeep.table.parts import PartWriter, coded_blocks, read_typed, typed_blocks, typed_names
from widedeep.table.split import SPLITS
from widedeep.table.trained_rows import NegativeSampling, trained_blocks
from widedeep.table.typed_columns import LABEL


def written(folder: Path, blocks: Sequence[CodedRows | pl.DataFrame], split: str = "train") -> Path:
    with syncing() as sync, ThreadPoolExecutor(1) as thread:
        writer = PartWriter(folder / split, thread, sync)
        for block in blocks:
            writer.add(block if isinstance(block, CodedRows) else CodedRows(block))
        writer.finish()
    assert writer.num_rows == sum(block.height for block in blocks)
    return folder


def texts(*values: Any) -> pl.DataFrame:
    return pl.DataFrame({"t": pl.Series(values, dtype=pl.String), "n": [float(row) for row in range(len(values))]})


@pytest.mark.parametrize(("different", "is_coded"), [(4, True), (5, False)])
def test_texts_are_coded_where_each_value_has_four_rows(tmp_path: Path, different: int, is_coded: bool) -> None:
    # Missing counts as a value.
    table = texts(*[f"v{row % different}" for row in range(20)])
    written(tmp_path, [table])
    (block,) = coded_blocks(tmp_path, "train")
    assert ("t" in block.values) == is_coded
    assert "n" not in block.values
    assert read_typed(tmp_path, "train").equals(table)
    if is_coded:
        assert block.values["t"].to_list() == [None, "v0", "v1", "v2", "v3"]


@given(
    st.lists(st.lists(st.sampled_from(["a", "b", "ä", "", None, "c"]), min_size=1, max_size=30), min_size=1, max_size=4)
)
def test_rows_of_any_blocks_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("typed")
    frames = [texts(*block) for block in blocks]
    written(folder, frames)
    assert read_typed(folder, "train").equals(pl.concat(frames))


def test_codes_of_blocks_with_values_of_their_own_become_one_coding(tmp_path: Path) -> None:
    def coded(values: list[Any], codes: list[int], dtype: Any = pl.String) -> CodedRows:
        frame = pl.DataFrame({"x": pl.Series(codes, dtype=pl.UInt16)})
        return CodedRows(frame, {"x": pl.Series(values, dtype=dtype)})

    # A value may stand twice, and some have no row.
    blocks = [coded(["a", "b", None, "a"], [0, 3, 1, 2] * 4), coded(["b", "zz", "c"], [2, 0] * 9)]
    written(tmp_path, blocks)
    (block,) = coded_blocks(tmp_path, "train")
    assert block.values["x"].to_list() == [None, "a", "b", "c"]
    assert block.decoded()["x"].to_list() == ["a", "a", "b", None] * 4 + ["c", "b"] * 9
    numbers = [coded([0.5, -0.0, None], [0, 1, 2, 0] * 4, pl.Float64), coded([0.0, 0.5], [0, 1] * 9, pl.Float64)]
    written(tmp_path / "n", numbers)
    assert read_typed(tmp_path / "n", "train")["x"].to_list() == [0.5, 0.0, None, 0.5] * 4 + [0.0, 0.5] * 9
    (block,) = coded_blocks(tmp_path / "n", "train")
    assert sorted(map(str, block.values["x"])) == ["-0.0", "0.0", "0.5", "None"]
    # Where one block has plain numbers, all have.
    mixed = [numbers[0], CodedRows(pl.DataFrame({"x": [7.0] * 30}))]
    written(tmp_path / "m", mixed)
    (block,) = coded_blocks(tmp_path / "m", "train")
    assert "x" not in block.values
    assert block.frame["x"].to_list() == [0.5, 0.0, None, 0.5] * 4 + [7.0] * 30


def test_parts_are_cut_behind_a_block_once_they_are_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_ROWS", 10)
    table = texts(*[f"v{row}" for row in range(27)])
    written(tmp_path, [table[:4], table[4:10], table[10:25], table[25:]])
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == [f"part-0000{number}.{kind}" for number in range(3) for kind in ("arrow", "values")]
    heights = [block.height for block in typed_blocks(tmp_path, "train", rows=12)]
    assert heights == [10, 12, 3, 2]
    assert read_typed(tmp_path, "train").equals(table)
    assert [block.columns for block in typed_blocks(tmp_path, "train", columns=["n"])] == [["n"]] * 3
    assert typed_names(tmp_path, "train") == ["t", "n"]


# -------------------------------------------------------------------------------------------------------- trained rows


def labelled(rows: int, start: int = 0) -> pl.DataFrame:
    label = [float(row % 5 == 0) for row in range(start, start + rows)]
    return pl.DataFrame({LABEL: pl.Series(label, dtype=pl.Float32), "row": range(start, start + rows)})


def test_all_positives_and_a_share_of_the_negatives_stay_whatever_the_blocks() -> None:
    whole = NegativeSampling(0.25, "train").kept(CodedRows(labelled(4000))).frame
    assert whole.filter(pl.col(LABEL) == 1.0).height == 800
    assert whole.height - 800 == pytest.approx(800, abs=90)
    sampling = NegativeSampling(0.25, "train")
    pieces = [sampling.kept(CodedRows(labelled(rows, start))).frame for start, rows in ((0, 1500), (1500, 2500))]
    assert pl.concat(pieces).equals(whole)
    assert not NegativeSampling(0.25, "valid").kept(CodedRows(labelled(4000))).frame.equals(whole)
    rows = CodedRows(labelled(9))
    assert NegativeSampling(1.0, "train").kept(rows) is rows


def test_trained_rows_are_those_of_the_splits_with_negatives_sampled_once(tmp_path: Path) -> None:
    for split in SPLITS:
        written(tmp_path, [labelled(1000)], split)
    blocks = list(trained_blocks(tmp_path, ["train", "valid"], 0.25, rows=400))
    frames = [block.frame for block in blocks]
    assert all(0 < frame.height <= 400 for frame in frames)
    train, valid = pl.concat(frames[:3]), pl.concat(frames[3:])
    # `ingest` has sampled those of train already.
    assert train.equals(labelled(1000))
    assert valid.filter(pl.col(LABEL) == 1.0).height == 200
    assert valid.height == pytest.approx(400, abs=60)
    only = [block.frame for block in trained_blocks(tmp_path, ["train", "valid"], 0.25, columns=["row"])]
    assert [frame.columns for frame in only] == [["row"]] * 2
    assert pl.concat(only)["row"].to_list() == [*train["row"], *valid["row"]]
    with_label = [block.frame.columns for block in trained_blocks(tmp_path, ["valid"], 0.25, columns=["row", LABEL])]
    assert with_label == [["row", LABEL]]


def test_a_block_of_which_nothing_is_kept_is_left_out(tmp_path: Path) -> None:
    negatives = labelled(8).with_columns(pl.lit(0.0, dtype=pl.Float32).alias(LABEL))
    written(tmp_path, [negatives], "valid")
    assert list(trained_blocks(tmp_path, ["valid"], 1e-9)) == []
    assert np.array([block.height for block in trained_blocks(tmp_path, ["valid"], 1.0)]).tolist() == [8]


def test_parts_are_the_same_with_compiled_loops_and_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def block(values: list[str | None]) -> CodedRows:
        codes = np.random.default_rng(len(values)).integers(0, len(values), 5000).astype(np.uint32)
        return CodedRows(pl.DataFrame({"x": codes}), {"x": pl.Series(values, dtype=pl.String)})

    blocks = [block(["b", None, "a", "b"]), block([f"v{number % 300}" for number in range(600)])]
    files = []
    for compiled_rows in (1, 1 << 20):
        monkeypatch.setattr(parts, "_COMPILED_ROWS", compiled_rows)
        folder = written(tmp_path / str(compiled_rows), blocks)
        files.append([path.read_bytes() for path in sorted(folder.rglob("*.*"))])
    assert files[0] == files[1]
    decoded = pl.concat([block.decoded() for block in blocks])
    assert read_typed(tmp_path / "1", "train").equals(decoded)
