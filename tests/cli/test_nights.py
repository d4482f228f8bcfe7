"""The nightly script of the docs, over three nights: one goes well, one meets broken files, one brings a better model."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from forks import environment_of_shells, run_forked

ROOT = Path(__file__).parents[2]
POOR = {
    "epochs=2": "epochs=1 --set training.deep.learning_rate=1e-6 --set training.wide.learning_rate=1e-6 --set crosses=[]"
}


def script() -> str:
    """The script that the page shows, as `sh` would find it in nightly.sh."""
    (found,) = re.findall(r"<<'SCRIPT'\n(.*?)^SCRIPT$", (ROOT / "docs" / "scoring.md").read_text(), re.M | re.DOTALL)
    return str(found)


@pytest.fixture
def clicks(tmp_path: Path) -> Path:
    """A folder as the README leaves it: a sample log with its recipe, and rows to score."""
    assert run_forked("synth", "-o", "sample", "--rows", "4000", "--seed", "1", cwd=tmp_path) == (0, "")
    lines = (tmp_path / "sample" / "log.csv").read_text().splitlines(keepends=True)
    (tmp_path / "new.csv").write_text("".join(lines[:201]))
    return tmp_path


def night(folder: Path, day: str, text: str) -> tuple[int, str]:
    """Exit code and stderr of the script on this day."""
    (folder / "nightly.sh").write_text(text)
    done = subprocess.run(
        ["sh", "nightly.sh"],
        cwd=folder,
        env={**environment_of_shells(), "DAY": day},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


def written(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "scores").glob("*.parquet")}


def moves(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "scores" / "served.ndjson").read_text().splitlines()]


def test_three_nights(clicks: Path) -> None:
    poor = script()
    for good, bad in POOR.items():
        assert good in poor
        poor = poor.replace(good, bad)
    serving = clicks / "runs" / "sample" / "serving"

    assert night(clicks, "2026-01-01", poor)[0] == 0
    first = os.readlink(serving)
    scores = written(clicks)
    assert list(scores) == ["2026-01-01.parquet"]
    assert pl.read_parquet(clicks / "scores" / "2026-01-01.parquet").columns == ["user", "score"]

    rows, log = (clicks / "new.csv").read_bytes(), (clicks / "sample" / "log.csv").read_bytes()
    (clicks / "sample" / "log.csv").write_bytes(log[: len(log) // 2] + b',"never closed\n')
    code, told = night(clicks, "2026-01-02", poor)
    assert (code, "log.csv" in told, told.count("\n")) == (3, True, 1), told
    assert (os.readlink(serving), written(clicks)) == (first, scores)
    (clicks / "sample" / "log.csv").write_bytes(log)
    (clicks / "new.csv").write_bytes(rows[: len(rows) // 2] + b',"never closed\n')
    code, told = night(clicks, "2026-01-02", poor)
    assert (code, "new.csv" in told) == (3, True), told
    assert written(clicks) == scores

    (clicks / "new.csv").write_bytes(rows)
    code, told = night(clicks, "2026-01-03", script())
    assert (code, told) == (0, "")  # so that cron mails nothing
    assert os.readlink(serving) == os.readlink(clicks / "runs" / "sample" / "latest") != first
    assert moves(clicks)[-1]["measured"]["difference"]["high"] < 0.0
    assert sorted(written(clicks)) == ["2026-01-01.parquet", "2026-01-03.parquet"]
    assert written(clicks)["2026-01-01.parquet"] == scores["2026-01-01.parquet"]

    # A fourth night, whose model is worse: it is refused, and the rows are scored by the one of the third.
    third = os.readlink(serving)
    code, told = night(clicks, "2026-01-04", poor)
    assert (code, "not fit to be served" in told) == (0, True), told
    assert (os.readlink(serving), len(moves(clicks))) == (third, 3)
    assert written(clicks)["2026-01-04.parquet"] == written(clicks)["2026-01-03.parquet"]
