"""Vocabularies that grow: old values first, new ones by counts of old and new rows, the rest kept as rare."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from widedeep.artefacts import digest_of_bytes
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


@settings(max_examples=150)
@given(
    runs=st.lists(VALUES, min_size=1, max_size=6),
    evict=st.integers(1, 4),
    min_count=st.integers(1, 4),
    max_size=st.one_of(st.none(), st.integers(1, 8)),
    spill_entries=st.sampled_from([1, 7, 1000]),
)
def test_a_value_that_no_run_had_for_long_is_dropped_with_its_count_and_the_others_keep_their_order(
    runs: list[list[str]], evict: int, min_count: int, max_size: int | None, spill_entries: int
) -> None:
    vocabulary = rare = counted([])
    known: dict[str, tuple[int, int]] = {}  # value → its count, and the runs in a row without it
    order: list[str] = []
    with TemporaryDirectory() as folder:
        for number, values in enumerate(runs):
            counts = ValueCounts(pl.String(), Path(folder), spill_entries=spill_entries, evict=evict)
            if number:
                counts.add_earlier(vocabulary)
                counts.add_earlier(rare)
            for start in range(0, len(values), 10):
                counts.add(pl.Series(values[start : start + 10], dtype=pl.String))
            vocabulary, rare = counts.kept_and_rare(vocabulary, min_count=min_count, max_size=max_size)
            assert not list(Path(folder).iterdir())
            here = Counter(values)
            known = {
                value: (known.get(value, (0, 0))[0] + here[value], 0 if value in here else known[value][1] + 1)
                for value in known.keys() | here.keys()
            }
            known = {value: pair for value, pair in known.items() if pair[1] < evict}
            order = [value for value in order if value in known]
            others = sorted(known.keys() - set(order), key=lambda v: (-known[v][0], v.encode()))
            room = len(known) if max_size is None else max(0, max_size - len(order))
            order += [value for value in others if known[value][0] >= min_count][:room]
            assert list(vocabulary.iter_rows()) == [(value, *known[value]) for value in order]
            assert list(rare.iter_rows()) == [(value, *known[value]) for value in others if value not in order]


def test_how_long_values_are_unseen_is_part_of_the_digest_and_checked_when_it_is_read(tmp_path: Path) -> None:
    def of_runs(*runs: int, dtype: pl.DataType | None = None) -> pl.DataFrame:
        return counted(["a", "b"]).with_columns(pl.Series("unseen_runs", runs, dtype=dtype or pl.Int32()))

    digests = {RareCounts({"of user": frame}).digest for frame in (counted(["a", "b"]), of_runs(0, 1), of_runs(0, 2))}
    assert len(digests) == 3
    counts = RareCounts({"of user": of_runs(0, 3)})
    counts.save(tmp_path / "rare")
    read = RareCounts.load(tmp_path / "rare")
    assert read.vocabularies["of user"].equals(counts.vocabularies["of user"])
    assert read.digest == counts.digest
    for name, wrong in (("negative", of_runs(0, -1)), ("text", of_runs(0, 1).cast({"unseen_runs": pl.String}))):
        RareCounts({"of user": wrong}).save(tmp_path / name)
        with pytest.raises(ArtefactError, match="does not say how long"):
            RareCounts.load(tmp_path / name)


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


def test_rare_counts_that_say_how_long_values_are_unseen_share_no_file_with_others(tmp_path: Path) -> None:
    plain = counted(["a", "b"])
    unseen = plain.with_columns(pl.Series("unseen_runs", [0, 2], dtype=pl.Int32))
    counts = RareCounts({"of a": plain, "of b": unseen, "of c": unseen.head(1), "of d": plain})
    counts.save(tmp_path / "rare")
    assert len(list((tmp_path / "rare").glob("*.arrow"))) == 3
    read = RareCounts.load(tmp_path / "rare")
    assert read.digest == counts.digest
    assert all(read.vocabularies[name].equals(frame) for name, frame in counts.vocabularies.items())


@pytest.mark.parametrize("sizes", [(1, 1), (2, 2), (4, 0), (-1, 4), (2, -1)])
def test_a_file_that_holds_other_rare_counts_than_are_noted_is_refused(sizes: tuple[int, int], tmp_path: Path) -> None:
    RareCounts({"of a": counted(["x", "y"]), "of b": counted(["z"])}).save(tmp_path / "rare")
    path = tmp_path / "rare" / "rare.json"
    facts = json.loads(path.read_text())
    for name, size in zip(("of a", "of b"), sizes, strict=True):
        facts["vocabularies"][name]["size"] = size
    path.write_text(json.dumps(facts))
    with pytest.raises(ArtefactError, match=re.escape(str(path))):
        RareCounts.load(tmp_path / "rare")


def test_rare_counts_are_read_where_each_vocabulary_has_a_file_of_its_own(tmp_path: Path) -> None:
    vocabularies = {"of a": counted(["x", "y"]), "of b": counted(["z"])}
    entries = {}
    for number, (name, counts) in enumerate(vocabularies.items()):
        path = tmp_path / f"rare-{number:04d}.arrow"
        counts.write_ipc(path, compression="lz4")
        entries[name] = {"file": path.name, "checksum": digest_of_bytes(path.read_bytes())}
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


REMOVED = object()


@pytest.mark.parametrize(
    ("place", "new"),
    [
        ((), []),
        (("digest",), REMOVED),
        (("digest",), 5),
        (("vocabularies",), REMOVED),
        (("vocabularies",), []),
        (("vocabularies", "of user"), "rare-0000.arrow"),
        (("vocabularies", "of user", "file"), REMOVED),
        (("vocabularies", "of user", "file"), 5),
        (("vocabularies", "of user", "file"), ".."),
        (("vocabularies", "of user", "checksum"), None),
        (("vocabularies", "of user", "size"), "2"),
    ],
)
def test_rare_counts_whose_list_has_another_shape_are_refused_with_its_name(
    place: tuple[str, ...], new: object, tmp_path: Path
) -> None:
    RareCounts({"of user": counted(["a", "b"])}).save(tmp_path / "rare")
    path = tmp_path / "rare" / "rare.json"
    content: dict[str, Any] = {"": json.loads(path.read_text())}
    inner = content
    *folders, last = ("", *place)
    for key in folders:
        inner = inner[key]
    if new is REMOVED:
        del inner[last]
    else:
        inner[last] = new
    path.write_text(json.dumps(content[""]))
    with pytest.raises(ArtefactError, match=re.escape(str(path))):
        RareCounts.load(tmp_path / "rare")
    if place[:1] != ("vocabularies",) or len(place) < 2:
        with pytest.raises(ArtefactError, match=re.escape(str(path))):
            RareCounts.saved_digest(tmp_path / "rare")


@pytest.mark.parametrize("name", ["of user", "cross a x b"])
@pytest.mark.parametrize(
    "other",
    [
        [pl.col("value")],
        [pl.col("count").alias("value"), pl.col("count")],
        [pl.col("value"), pl.col("count").cast(pl.String)],
    ],
    ids=["no counts", "values of another type", "counts of another type"],
)
def test_rare_counts_of_other_types_are_refused(name: str, other: list[pl.Expr], tmp_path: Path) -> None:
    counts = counted(["a", "a", "b"])
    if name.startswith("cross"):
        counts = counts.with_columns(pl.col("count").cast(pl.UInt64).alias("value"))
    RareCounts({name: counts}).save(tmp_path / "rare")
    path, index = tmp_path / "rare" / "rare-0000.arrow", tmp_path / "rare" / "rare.json"
    counts.select(other).write_ipc(path)
    facts = json.loads(index.read_text())
    facts["vocabularies"][name]["checksum"] = digest_of_bytes(path.read_bytes())
    index.write_text(json.dumps(facts))
    with pytest.raises(ArtefactError, match="holds no"):
        RareCounts.load(tmp_path / "rare")
