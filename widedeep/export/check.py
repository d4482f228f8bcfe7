"""Holds what was exported against the run before anything is kept: the encoding, the model and the golden rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from widedeep.errors import ArtefactError
from widedeep.export.encode import Encoder
from widedeep.export.graph import Inputs
from widedeep.lists import Lists
from widedeep.scoring.scorer import Scorer

ROWS = 1000
"""Rows that are scored both ways."""
BATCHES = (1, 64, ROWS)
"""Sizes of the batches that they are scored in: none is the one that the model was traced with."""
TOLERANCE = 1e-6
"""How far a score may lie from the run's; where a regression's scores are above 1, what share of the largest."""

Arrays = Mapping[str, NDArray[Any]]
"""Name of an input → its values."""


@dataclass(frozen=True)
class Check:
    """What was held against the run."""

    rows: int
    """Different rows."""
    of: str
    """The split that they come from, or `golden`."""
    batches: tuple[int, ...]
    largest_difference: float
    """Between the scores of the exported model and the run's."""


def arrays_of(indices: NDArray[Any], numerics: NDArray[Any], lists: Sequence[Lists]) -> dict[str, NDArray[Any]]:
    """The exported model's inputs of encoded rows, as `Scorer.scores_of` takes them."""
    inputs: dict[str, NDArray[Any]] = {}
    if len(indices):
        inputs["indices"] = np.ascontiguousarray(indices.T, dtype=np.int64)
    if len(numerics):
        inputs["numerics"] = np.ascontiguousarray(numerics.T)
    num_weights = 0
    for number, column in enumerate(lists):
        inputs[f"values_{number}"] = column.values.astype(np.int64)
        inputs[f"bounds_{number}"] = column.bounds
        if column.weights is not None:
            inputs[f"weights_{num_weights}"] = column.weights
            num_weights += 1
    return inputs


def inputs_of(arrays: Arrays) -> Inputs:
    """The same as tensors."""
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}

    def each(what: str) -> list[torch.Tensor]:
        return [tensors[f"{what}_{number}"] for number in range(len(tensors)) if f"{what}_{number}" in tensors]

    return Inputs(tensors.get("indices"), tensors.get("numerics"), each("values"), each("bounds"), each("weights"))


def check_encoding(scorer: Scorer, encoder: Encoder, typed: pl.DataFrame) -> None:
    """Raise ArtefactError if typed rows are encoded otherwise than by the run's plan."""
    indices, numerics, lists, _ = scorer.encode_by_query(typed)
    wanted, given = arrays_of(indices, numerics, lists), encoder.encoded(typed_rows(scorer, typed))
    for name, of_run in wanted.items():
        exact = not name.startswith(("numerics", "weights"))
        if given[name].shape == of_run.shape and np.allclose(given[name], of_run, rtol=0 if exact else 1e-6, atol=0):
            continue
        raise ArtefactError(f"the exported plan encodes {name} otherwise than the run does: nothing was written")


def typed_rows(scorer: Scorer, typed: pl.DataFrame) -> list[dict[str, Any]]:
    """Typed rows as `Encoder.encoded` takes them."""
    columns: dict[str, list[Any]] = {}
    lists = {field.column: field.weights for field in scorer.plan.multi_valued}
    for name in scorer.plan.required_columns():
        if name in lists:
            values = typed[name].to_list()
            of = lists[name]
            weights = [v and [1.0] * len(v) for v in values] if of is None else typed[of].to_list()
            columns[name] = [v and (v, w) for v, w in zip(values, weights, strict=True)]
        elif name not in lists.values():
            columns[name] = typed[name].to_list()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def check_scores(scorer: Scorer, typed: pl.DataFrame, exported: Callable[[Arrays], NDArray[Any]], what: str) -> float:
    """The largest difference between the scores of the exported model and the run's, each row in batches of all sizes.

    Raises ArtefactError if it is too large.
    """
    rows = pl.concat([typed] * -(-ROWS // len(typed))).head(ROWS)
    indices, numerics, lists, _ = scorer.encode_by_query(rows)
    wanted = scorer.scores_of(indices, numerics, lists)
    largest = 0.0
    for size in BATCHES:
        scores = []
        for start in range(0, ROWS, size):
            part = slice(start, start + size)
            of_part = [column.slice(start, min(part.stop, ROWS)) for column in lists]
            scores.append(exported(arrays_of(indices[:, part], numerics[:, part], of_part)))
        largest = max(largest, largest_difference(np.concatenate(scores), wanted, f"{what}, in batches of {size:,}"))
    return largest


def largest_difference(scores: NDArray[Any], wanted: NDArray[Any], what: str) -> float:
    """Between scores and the run's. Raises ArtefactError if it is too large; `what` says which scores they are."""
    if scores.shape != wanted.shape:
        raise ArtefactError(f"{what}: {scores.shape[0]} scores of {len(wanted)} rows: nothing was written")
    differences = np.abs(scores - wanted)
    worst = int(differences.argmax())
    if not differences[worst] <= TOLERANCE * max(1.0, float(np.abs(wanted).max())):
        raise ArtefactError(
            f"{what}: row {worst + 1} scores {scores[worst]:.7g}, and {wanted[worst]:.7g} by the run: nothing was "
            "written; the versions of torch, onnxscript and onnxruntime that widedeep is tested with are in its "
            "constraints.txt"
        )
    return float(differences[worst])
