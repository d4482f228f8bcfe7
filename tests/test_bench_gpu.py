"""The benchmark for CUDA devices runs from end to end on the CPU in a tiny shape, and says so where it has no device."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parent / "benchmarks" / "bench_gpu.py"


def test_the_whole_benchmark_runs_on_the_cpu(tmp_path: Path) -> None:
    report = tmp_path / "gpu.md"
    command = [sys.executable, str(SCRIPT), "--device", "cpu", "--rows", "small", "--output", str(report)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    table = [line for line in report.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(table) == 8
    assert all("rows/s" in row for row in (table[1], table[2], table[4], table[5]))
    assert run.stdout.strip() == report.read_text(encoding="utf-8").strip()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_without_a_device_it_says_so_in_a_line_and_fails() -> None:
    run = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert "no CUDA device" in run.stderr


def test_its_shape_is_the_one_that_nvidia_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    from outbrain import HIDDEN, Shape, deep_input_dim, flop_per_row, layout_of

    layout = layout_of(Shape(rows=1, batch_size=1))
    assert deep_input_dim(layout) == 1248
    assert flop_per_row(layout, HIDDEN, training=True) == pytest.approx(32.9e6, rel=0.005)
    tables = sum((c.size - 2) * (c.embedding_dim or 0) for c in (*layout.index_columns, *layout.list_columns))
    assert tables + 1248 * 1024 + 4 * 1024 * 1024 + 1024 == pytest.approx(92e6, rel=0.01)
