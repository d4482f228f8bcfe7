"""Commands that use one work directory at the same time."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forks import run_forked


def runs_in(project: Path) -> list[Path]:
    return sorted(path for path in (project / "runs" / "small").iterdir() if not path.is_symlink())


def test_trainings_at_the_same_time_share_their_stages_and_of_equal_ones_there_is_one_run(project: Path) -> None:
    seeds = (1, 2, 1)

    def train(seed: int) -> tuple[int, str]:
        return run_forked("train", "small.yaml", "--set", f"seed={seed}", "--wait", "--quiet", cwd=project)

    with ThreadPoolExecutor(len(seeds)) as threads:
        ended = list(threads.map(train, seeds))
    assert [code for code, _ in ended] == [0, 0, 0], ended
    assert [len(list((project / "stages" / stage).iterdir())) for stage in ("ingest", "encoded")] == [1, 1]
    runs = runs_in(project)
    assert len(runs) == 2
    assert all((run / "DONE").exists() for run in runs)
    assert Path(os.path.realpath(project / "runs" / "small" / "latest")) in runs
    left = [path.name for path in project.rglob("*") if path.name.endswith((".lock", ".next")) or ".tmp-" in path.name]
    assert left == [".widedeep.lock"]
