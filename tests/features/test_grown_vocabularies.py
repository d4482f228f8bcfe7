"""Vocabularies that grow: old values first, new ones by counts of old and new rows, the rest kept as rare."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.errors import ArtefactError
from widedeep.features.rare import RareCounts
from widedeep.features.vocabulary import ValueCounts

VALUES = st.lists(st.sampled_from([f"v{number}" for number in range(12)] + ["", "é", "z|"]), max_size=60)


def counted(values: list[str]) -> pl.DataFrame:
    pairs = sorted(Counter(values).items())
    return pl.DataFrame(
        {"value": [value for value, _ in pairs], "count": [count for _, count in pairs]},
        schema={"value": pl.String, "count": pl.Int64},
    )


@settings(max_examples=150)
@given(
    old=VALUES,
    new=st.lists(VALUES, max_size=4),
    min_count=st.integers(1, 4),
    max_size=st.one_of(st.none(), st.integers(1, 8)),
    num_rare=st.integers(0, 6),
    spill_entries=st.sampled_from([1, 7, 1000]),
)
def test_a_grown_vocabulary_and_its_rare_values_are_those_of_all_rows_counted_together(
    old: list[str], new: list[list[str]], min_count: int, max_size: int | None, num_rare: int, spill_entries: int
) -> None:
    with TemporaryDirectory() as folder:

        def counts() -> ValueCounts:
            return ValueCounts(pl.String(), Path(folder), spill_entries=spill_entries)

        first_counts = counts()
        first_counts.add_counted(counted(old))
        first, rare = first_counts.kept_and_rare(
            counted([]), min_count=min_count, max_size=max_size, num_rare=len(set(old))
        )
        later = counts()
        later.add_counted(first)
        later.add_counted(rare)
        for values in new:
            later.add(pl.Series(values, dtype=pl.String))
        grown, still_rare = later.kept_and_rare(first, min_count=min_count, max_size=max_size, num_rare=num_rare)
        assert not list(Path(folder).iterdir())
    total = Counter([*old, *(value for values in new for value in values)])
    kept = first["value"].to_list()
    others = sorted((value for value in total if value not in kept), key=lambda v: (-total[v], v.encode()))
    room = len(total) if max_size is None else max(0, max_size - len(kept))
    added = [value for value in others if total[value] >= min_count][:room]
    assert grown["value"].to_list() == kept + added
    assert dict(grown.iter_rows()) == {value: total[value] for value in kept + added}
    assert list(still_rare.iter_rows()) == [(v, total[v]) for v in others if v not in added][:num_rare]
    assert later.distinct == len(total)


def test_rare_counts_are_read_as_they_were_written(tmp_path: Path) -> None:
    crosses = pl.DataFrame({"value": [2**63 + 1, 5], "count": [1, 1]}, schema={"value": pl.UInt64, "count": pl.Int64})
    counts = RareCounts({"of user": counted(["a", "a", "b"]), "cross a x b": crosses, "of page": counted([])})
    counts.save(tmp_path / "rare")
    read = RareCounts.load(tmp_path / "rare")
    assert read.digest == counts.digest
    assert set(read.vocabularies) == {"of user", "cross a x b"}
    for name, frame in read.vocabularies.items():
        assert frame.equals(counts.vocabularies[name])
    assert RareCounts({"of user": counted(["a", "a", "c"]), "cross a x b": crosses}).digest != counts.digest


def test_rare_counts_of_many_vocabularies_share_a_file_and_are_read_apart(tmp_path: Path) -> None:
    vocabularies = {f"of c{number}": counted(["a\nb\u2028", *["c"] * number]) for number in range(12)}
    RareCounts(vocabularies).save(tmp_path / "rare")
    assert len(list((tmp_path / "rare").glob("*.arrow"))) == 1
    read = RareCounts.load(tmp_path / "rare").vocabularies
    assert all(read[name].equals(counts) for name, counts in vocabularies.items())


def test_rare_counts_are_read_where_each_vocabulary_has_a_file_of_its_own(tmp_path: Path) -> None:
    vocabularies = {"of a": counted(["x", "y"]), "of b": counted(["z"])}
    entries = {}
    for number, (name, counts) in enumerate(vocabularies.items()):
        path = tmp_path / f"rare-{number:04d}.arrow"
        counts.write_ipc(path, compression="lz4")
        checksum = hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
        entries[name] = {"file": path.name, "checksum": checksum}
    (tmp_path / "rare.json").write_text(json.dumps({"vocabularies": entries, "digest": "0"}))
    read = RareCounts.load(tmp_path).vocabularies
    assert all(read[name].equals(counts) for name, counts in vocabularies.items())


def test_the_digest_of_rare_counts_is_that_of_each_vocabulary_after_its_name() -> None:
    vocabularies = {"of b": counted(["z\u2028", "z\n", "y"]), "of a": counted(["x", "x"])}
    digest = hashlib.blake2b(digest_size=16)
    for name in ("of a", "of b"):
        digest.update(json.dumps(name).encode())
        for value, count in vocabularies[name].iter_rows():
            digest.update(pl.DataFrame({"value": [f"{value}\0{count}"]}).write_ndjson().encode())
    assert RareCounts(vocabularies).digest == digest.hexdigest()


def test_damaged_rare_counts_are_refused_before_they_are_parsed(tmp_path: Path) -> None:
    RareCounts({"of user": counted(["a", "b"])}).save(tmp_path / "rare")
    path = tmp_path / "rare" / "rare-0000.arrow"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match="damaged"):
        RareCounts.load(tmp_path / "rare")
