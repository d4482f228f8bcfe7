"""`train --from`, killed at any write or step and run again with --resume, ends in the bytes of a run never killed."""

import random
import shutil
from pathlib import Path

import pytest
from kills import moments, run_to_call

SETTINGS = ["--set", "training.checkpoint_seconds=0.05", "--set", "training.epochs=6", "--set", "data.train=day-2.csv"]
SETTINGS += ["--set", "training.going_on_epochs=6", "--set", "training.evict={unseen_runs: 1}"]
KILLS = 5


@pytest.fixture
def chain(project: Path) -> Path:
    """The small project, with a second day and a finished run of the first, copied out of its work directory."""
    header, *rows = (project / "log.csv").read_text().splitlines()
    day = random.Random(1).sample(rows, 900) + [row.replace(",u", ",new-u") for row in rows[:400]]
    (project / "day-2.csv").write_text("\n".join([header, *day]) + "\n")
    recipe = (project / "small.yaml").read_text().replace("{column: user, buckets: 50}", "user")
    (project / "small.yaml").write_text(recipe)
    assert run_to_call("write", 0, "train", "small.yaml", "--work", "before", cwd=project) is not None
    shutil.copytree((project / "before" / "runs" / "small" / "latest").resolve(), project / "first" / "small" / "run")
    return project


def written(work: Path) -> dict[str, bytes]:
    (run,) = [path for path in (work / "runs" / "small").iterdir() if not path.is_symlink()]
    paths = [*(run / "checkpoints").iterdir(), *(run / "plan").rglob("*"), run / "golden.parquet"]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths if path.is_file()}


@pytest.mark.parametrize("kind", ["write", "step"])
def test_going_on_killed_at_writes_and_steps_and_resumed_ends_in_the_same_bytes(kind: str, chain: Path) -> None:
    command = ["train", "small.yaml", *SETTINGS, "--from", "first/small/run", "--resume"]
    total = run_to_call(kind, 0, *command, "--work", "quiet", cwd=chain)
    assert total is not None
    expected = written(chain / "quiet")
    kills = works = 0
    for number in moments(total, kills=KILLS, seed=11):
        if run_to_call(kind, number, *command, "--work", f"work-{works}", cwd=chain) is None:
            kills += 1
        else:
            assert written(chain / f"work-{works}") == expected
            works += 1
    assert kills >= 2
    assert run_to_call(kind, 0, *command, "--work", f"work-{works}", cwd=chain) is not None
    assert written(chain / f"work-{works}") == expected
