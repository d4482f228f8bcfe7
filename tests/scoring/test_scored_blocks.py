"""The threads that score: order kept, faults and interrupts end them all, scores do not depend on how rows are parted."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from widedeep.errors import DataError
from widedeep.reporting import Reporter
from widedeep.scoring import scored_blocks as module
from widedeep.scoring.predict import predict_files
from widedeep.scoring.rows import InputRows
from widedeep.scoring.scored_blocks import TypedBlocks, scored_blocks
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import OddValues


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, an early end waits for the thread that reads."""
    monkeypatch.setattr(module, "LEAVE_SECONDS", None)


@pytest.fixture(scope="module")
def run(trained: Path) -> Path:
    return (trained / "runs" / "small" / "latest").resolve()


@pytest.fixture(scope="module")
def scorer(run: Path) -> Scorer:
    return Scorer.load(run)


@pytest.fixture(scope="module")
def typed(trained: Path, scorer: Scorer) -> pl.DataFrame:
    rows = InputRows(scorer, [trained / "new.csv"], input_format=None, keep=(), labelled=False, reporter=Reporter())
    return pl.concat(frame for _, frame in rows)


def in_blocks(typed: pl.DataFrame, num_rows: int) -> TypedBlocks:
    return ((frame, frame) for frame in typed.iter_slices(num_rows))


def scoring_threads() -> list[str]:
    # The kernels keep theirs for as long as the process lives.
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith("widedeep-") and not name.startswith("widedeep-kernels")]


def test_rows_come_back_in_order_with_the_scores_of_one_thread(
    scorer: Scorer, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, encoded = scorer.score(typed)
    counted = OddValues()
    counted.add(scorer.plan.count_unseen(typed, encoded))
    monkeypatch.setattr(module, "PART_ROWS", 7)
    odd_values = OddValues()
    blocks = list(scored_blocks(scorer, in_blocks(typed, 29), odd_values))
    assert pl.concat(block.typed for block in blocks).equals(typed)
    assert np.concatenate([block.scores for block in blocks]) == pytest.approx(expected, abs=1e-6)
    assert (odd_values.missing, odd_values.unseen) == (counted.missing, counted.unseen)
    assert odd_values.missing
    assert scoring_threads() == []


@pytest.mark.parametrize("batch_rows", [1, 13, 100_000])
def test_scores_agree_across_batch_sizes(
    batch_rows: int, scorer: Scorer, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = scorer.score(typed)
    monkeypatch.setattr(scorer, "batch_rows", batch_rows)
    assert scorer.score(typed)[0] == pytest.approx(expected, abs=1e-6)


def test_a_fault_of_the_source_is_raised_after_the_rows_before_it(scorer: Scorer, typed: pl.DataFrame) -> None:
    def faulty() -> TypedBlocks:
        yield from in_blocks(typed.head(60), 20)
        raise DataError("log.csv:61: bad")

    with closing(scored_blocks(scorer, faulty(), OddValues())) as blocks:
        for _ in range(3):
            assert len(next(blocks).scores) == 20
        with pytest.raises(DataError, match=r"log\.csv:61: bad"):
            next(blocks)
    assert scoring_threads() == []


def test_an_early_end_stops_the_threads_closes_the_source_and_reads_a_few_blocks_only(
    scorer: Scorer, typed: pl.DataFrame
) -> None:
    taken, closed = [], threading.Event()

    def endless() -> TypedBlocks:
        try:
            while True:
                taken.append(1)
                yield typed, typed
        finally:
            closed.set()

    threads = torch.get_num_threads()
    with closing(scored_blocks(scorer, endless(), OddValues())) as blocks:
        next(blocks)
        time.sleep(0.2)
        assert len(taken) <= 3 + max(1, threads // 4)
    assert closed.is_set()
    assert scoring_threads() == []
    assert torch.get_num_threads() == threads


def test_a_source_that_stays_silent_does_not_hold_up_an_early_end(
    scorer: Scorer, typed: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.05)
    answer = threading.Event()

    def silent() -> Generator[tuple[pl.DataFrame, pl.DataFrame]]:
        yield typed, typed
        answer.wait()
        yield typed, typed

    with closing(scored_blocks(scorer, silent(), OddValues())) as blocks:
        next(blocks)
    left = scoring_threads()
    answer.set()
    assert left == ["widedeep-read"]
    while scoring_threads():  # it ends with its next block
        time.sleep(0.01)


class _FullDisk(io.BytesIO):
    def write(self, _content: object) -> int:
        raise OSError(28, "No space left on device")


def test_an_output_that_cannot_be_written_ends_the_threads(run: Path, trained: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        predict_files(run, [trained / "new.csv"], _FullDisk(), reporter=Reporter())
    assert scoring_threads() == []


LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from widedeep_cli.main import main
raise SystemExit(main())
"""
"""The command line where SIGINT is not ignored: a shell lets what it starts in the background ignore it."""


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_while_stdin_is_silent_leaves_no_file_and_no_process(
    number: signal.Signals, code: int, run: Path, trained: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", LISTENING, "predict", str(run), "-", "-o", "scores.csv"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert process.stdin is not None
    try:
        process.stdin.write((trained / "new.csv").read_bytes())
        process.stdin.flush()
        while not list(tmp_path.glob("*.tmp-*")) and process.poll() is None:  # the temporary file: rows are waited for
            time.sleep(0.05)
        os.kill(process.pid, number)
        assert process.wait() == code
    finally:
        process.kill()
    assert process.stderr is not None
    assert process.stderr.read().decode() == f"widedeep: {'interrupted' if code == 130 else 'terminated'}\n"
    assert list(tmp_path.iterdir()) == []
