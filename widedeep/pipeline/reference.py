"""What a run keeps of its train and valid rows, for `predict` to hold new rows against: `plan/reference.json`."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from widedeep.encoded.store import RECORD_ROWS, EncodedStore
from widedeep.features.fields import flag_name
from widedeep.features.plan import FeaturePlan
from widedeep.files import write_text
from widedeep.pipeline.stages import EncodingResult
from widedeep.pipeline.workspace import read_report
from widedeep.runs import RunDirectory
from widedeep.scoring.looks import LOOKS_FORMAT, compact_json
from widedeep.scoring.tally import FieldTally, ScoreTally, binned, missing_and_unseen, no_counts

MOST_BLOCKS = 64
"""Blocks of RECORD_ROWS rows that are counted of a split, evenly spread: a million rows tell what all look like."""


def write_reference(
    run: RunDirectory,
    plan: FeaturePlan,
    stores: Mapping[str, EncodedStore],
    encoded: EncodingResult,
    scores: ScoreTally | None,
) -> None:
    """Count the encoded train and valid rows, and write them with the `scores` of the valid rows.

    Raises ArtefactError for a store that cannot be read, WriteError.
    """
    missing = _missing_numbers(plan, encoded)
    looks: dict[str, Any] = {"train": None, "valid": None}
    for split in looks:
        if split in stores:
            looks[split] = {"fields": _fields(plan, stores[split], missing.get(split, {})), "scores": None}
    if looks["valid"] is not None and scores is not None:
        looks["valid"]["scores"] = scores.to_json()
    expected = {name: exposure.expected for name, exposure in encoded.exposures.items()}
    write_text(run.reference_path, compact_json({"format": LOOKS_FORMAT, **looks, "expected_unseen": expected}))


def _fields(plan: FeaturePlan, store: EncodedStore, missing: Mapping[str, int]) -> dict[str, Any]:
    numbers, flags = [number.name for number in plan.numerics], [n.name for n in plan.numerics if n.flagged]
    lists = [field.name for field in plan.multi_valued]
    singles = [*(field.name for field in plan.categoricals), *numbers]
    tallies = {field.name: FieldTally(no_counts(is_number=False)) for field in plan.vocabulary_fields}
    tallies |= {name: FieldTally(no_counts(is_number=True)) for name in numbers}
    for start, rows in _blocks(store.rows):
        read: dict[str, Any] = dict(store.read(start, rows, [*singles, *map(flag_name, flags)]))
        flagged = {name: read.pop(flag_name(name)) for name in flags}
        read |= dict(zip(lists, store.read_lists(start, rows, [(name, None) for name in lists]), strict=True))
        values: dict[str, NDArray[Any]] = {n: read[n].values if n in lists else read[n] for n in tallies}
        for name, counts in binned(values).items():
            tally = tallies[name]
            tally.binned.add(counts, rows)
            tally.rows += rows
            if name in flagged:
                tally.missing += int(np.count_nonzero(flagged[name]))
            elif name not in numbers:
                lacking, unseen = missing_and_unseen(read[name])
                tally.missing += lacking
                tally.unseen += unseen
    for name, number in missing.items():
        # Of a number that no train row lacks, encoded rows do not tell whether it is missing.
        tallies[name].missing = int(number * tallies[name].rows / max(1, store.rows))
    return {name: tally.to_json() for name, tally in tallies.items()}


def _blocks(rows: int) -> Iterator[tuple[int, int]]:
    """(first row, rows) of the blocks to count."""
    num_blocks = -(-rows // RECORD_ROWS)
    for number in range(num_blocks)[:: max(1, -(-num_blocks // MOST_BLOCKS))]:
        yield number * RECORD_ROWS, min(RECORD_ROWS, rows - number * RECORD_ROWS)


def _missing_numbers(plan: FeaturePlan, encoded: EncodingResult) -> dict[str, dict[str, int]]:
    """Split → number without a flag → its rows without a value, as `ingest` counted them."""
    unflagged = {number.name for number in plan.numerics if not number.flagged}
    profile: Any = read_report(encoded.ingested.path)["columns"]
    missing: dict[str, dict[str, int]] = {}
    for column in profile:
        if column["name"] in unflagged:
            for split, rows in column["missing"].items():
                if split != "train":  # of whose rows some may be left out
                    missing.setdefault(split, {})[column["name"]] = rows
    return missing
