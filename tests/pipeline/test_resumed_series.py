"""What trackers are told of a run does not depend on whether its training was disturbed."""

from pathlib import Path

from kills import run_to_call

from widedeep.tracking.replay import read_replay


def test_a_run_killed_in_an_epoch_and_resumed_has_the_series_of_an_undisturbed_one(project: Path) -> None:
    settings = ["--set", "training.batch_size=16", "--set", "training.checkpoint_seconds=0", "--quiet"]
    assert run_to_call("step", 0, "train", "small.yaml", "--work", "quiet", *settings, cwd=project) is not None
    for killed_at in (70, 60):
        ended = run_to_call(
            "step", killed_at, "train", "small.yaml", "--work", "work", "--resume", *settings, cwd=project
        )
        assert ended is None
    assert (
        run_to_call("step", 0, "train", "small.yaml", "--work", "work", "--resume", *settings, cwd=project) is not None
    )

    undisturbed, resumed = (
        {
            name: [(point.step, point.value) for point in points]
            for name, points in read_replay((project / work / "runs/small/latest").resolve()).series().items()
            if name.rpartition("/")[2] not in ("seconds", "rows_per_second")
        }
        for work in ("quiet", "work")
    )

    assert resumed == undisturbed
    assert len(resumed["step/loss"]) == 3
