"""Exact sums over the ranking of all rows by score, for AUC and average precision; sorted runs are spilled to disk."""

import math
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from widedeep.errors import WriteError
from widedeep.files import temporary_directory

FloatArray = NDArray[np.float64]


class Ranking:
    """Ranks rows by falling score, with equal scores as one tie, and never holds more than about `max_held_rows` rows.

    When `max_held_rows` rows are held, they are sorted, equal scores are joined, and this run is written to disk. In
    the end the runs are read together, one score range after the other. Within a run all scores differ, so a range can
    always be made small enough, however many rows share a score.
    """

    def __init__(self, spill_dir: Path | None, max_held_rows: int) -> None:
        self._spill_dir = spill_dir
        self._max_held_rows = max_held_rows
        self._folder: Path | None = None
        self._folder_kept = ExitStack()
        self._run_paths: list[Path] = []
        self._held: list[FloatArray] = []
        self._held_rows = 0

    def close(self) -> None:
        """Remove the runs from disk."""
        self._folder_kept.close()
        self._folder = None

    def add(self, score: FloatArray, signed_weight: FloatArray) -> None:
        """Add rows, float64 [N] each. `signed_weight` is the weight of a positive row, or minus that of a negative row.

        Raises WriteError if a run cannot be written.
        """
        # Rows without weight change no sum. Without them, the precision is defined at every threshold.
        kept = signed_weight != 0.0
        rows = np.stack([-score[kept], signed_weight[kept]])
        while rows.shape[1]:
            room = self._max_held_rows - self._held_rows
            self._held.append(rows[:, :room])
            self._held_rows += self._held[-1].shape[1]
            rows = rows[:, room:]
            if self._held_rows == self._max_held_rows and rows.shape[1]:
                self._spill()

    def sums(self) -> tuple[float, float]:
        """Two sums over the ties g, from the highest score down. P and N are the weights of positives and of negatives.

        - concordant = sum of N_g * (P above g + P_g / 2), which is AUC * P * N (Mann-Whitney, a tie counts half);
        - precision = sum of P_g * P_to_g / (P_to_g + N_to_g), which is average precision * P ("to": above or in g).
        """
        runs = [np.load(path, mmap_mode="r") for path in self._run_paths]
        if self._held:
            runs.append(_ties(*self._take_held()))
        concordant: list[float] = []
        precision: list[float] = []
        positive_above = negative_above = 0.0
        for _, positive, negative in _score_ranges(runs, self._max_held_rows):
            # Beginning with the sum of earlier ranges makes one running sum, which does not depend on where ranges end.
            positive_to = np.cumsum(np.concatenate(([positive_above], positive)))
            negative_to = np.cumsum(np.concatenate(([negative_above], negative)))
            concordant.append(float((negative * (positive_to[:-1] + positive / 2)).sum()))
            precision.append(float((positive * (positive_to[1:] / (positive_to[1:] + negative_to[1:]))).sum()))
            positive_above, negative_above = float(positive_to[-1]), float(negative_to[-1])
        return math.fsum(concordant), math.fsum(precision)

    def _take_held(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        key, signed_weight = np.concatenate(self._held, axis=1)
        self._held, self._held_rows = [], 0
        return key, np.maximum(signed_weight, 0.0), np.maximum(-signed_weight, 0.0)

    def _spill(self) -> None:
        run = _ties(*self._take_held())
        try:
            if self._folder is None:
                self._folder = self._folder_kept.enter_context(temporary_directory(self._spill_dir))
            path = self._folder / f"{len(self._run_paths):06d}.npy"
            np.save(path, run)
        except OSError as error:
            place = self._spill_dir or tempfile.gettempdir()
            raise WriteError(f"{place}: cannot write the scores to rank ({run.nbytes:,} bytes): {error}") from error
        self._run_paths.append(path)


def _ties(key: FloatArray, positive: FloatArray, negative: FloatArray) -> FloatArray:
    """Rows of equal key (the negated score) joined: [3, T], rising keys, weights of positives and of negatives."""
    order = np.argsort(key, kind="stable")
    key = key[order]
    starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
    return np.stack([key[starts], np.add.reduceat(positive[order], starts), np.add.reduceat(negative[order], starts)])


def _score_ranges(runs: list[FloatArray], limit: int) -> Iterator[FloatArray]:
    """Merge runs [3, T]: yield the ties of one score range after the other, about `limit` of them at a time."""
    if len(runs) <= 1:
        yield from runs
        return
    # A run has `step` ties between two samples, so s samples of all runs span at most (s + number of runs) * step ties.
    step = max(1, limit // (2 * len(runs)))
    samples = np.sort(np.concatenate([run[0, ::step] for run in runs]))
    cuts = samples[:: max(1, limit // (2 * step))]
    edges = [np.concatenate((np.searchsorted(run[0], cuts), [run.shape[1]])) for run in runs]
    for number in range(len(cuts)):
        parts = [run[:, edge[number] : edge[number + 1]] for run, edge in zip(runs, edges, strict=True)]
        joined = np.concatenate(parts, axis=1)
        if joined.shape[1]:
            yield _ties(*joined)
