"""Workers of Ray, as tasks: its data sets lose the order of rows. A task is tried anew when its worker is gone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widedeep.errors import UsageError, WorkersError
from widedeep.workers import MOST_TRIES, ONE_THREAD, Workers, died_too_often, outcome
from widedeep.workers.clusters import check_address, check_workers

_PATIENCE = 30
"""Seconds in which a node must answer."""


class RayWorkers(Workers):
    """The workers of a cluster that this process is connected with."""

    def __init__(self, where: str) -> None:
        self._where = where

    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        import ray

        task = ray.remote(max_retries=MOST_TRIES - 1, num_cpus=1)(outcome)
        numbers: dict[Any, int] = {}
        waiting: list[Any] = []
        try:
            for number, item in enumerate(pickled):
                waiting.append(task.remote(function_name, item))
                numbers[waiting[-1]] = number
            while waiting:
                (done, *_), waiting = ray.wait(waiting, num_returns=1)
                try:
                    result, error = ray.get(done)
                except (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError) as crash:
                    result, error = None, died_too_often(str(crash).partition("\n")[0])
                except ray.exceptions.RayError as failure:
                    result, error = None, WorkersError(f"--workers {self._where}: {failure}")
                yield numbers.pop(done), result, error
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)


@contextmanager
def open_ray(where: str, folder: Path) -> Iterator[RayWorkers]:
    """Workers that see `folder`: of the cluster at `where`, or (`ray`) of one of this machine that ends here.

    Raises what `open_workers` does.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
    except ImportError as error:
        raise UsageError(f"--workers {where}: Ray is not installed: pip install 'widedeep[ray]'") from error
    if where != "ray":
        check_address(where)
    local = {"include_dashboard": False} if where == "ray" else {}
    try:
        ray.init(
            "local" if where == "ray" else where,
            logging_level="ERROR",
            log_to_driver=False,
            runtime_env={"env_vars": dict(ONE_THREAD)},
            **local,
        )
    except (ConnectionError, RuntimeError, OSError) as error:
        raise WorkersError(f"--workers {where}: no Ray cluster answers there: {error}") from error
    try:
        check_workers(where, folder, _ask_all)
        yield RayWorkers(where)
    finally:
        ray.shutdown()


def _ask_all(function: Any, *arguments: Any) -> dict[str, Any]:
    """Call a function on one worker of each node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    answers: dict[str, Any] = {}
    asked = {}
    for node in ray.nodes():
        if node["Alive"] and node["Resources"].get("CPU"):
            there = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            asked[node["NodeManagerAddress"]] = (
                ray.remote(function).options(scheduling_strategy=there).remote(*arguments)
            )
    for name, reference in asked.items():
        try:
            answers[name] = ray.get(reference, timeout=_PATIENCE)
        except ray.exceptions.RayTaskError as error:
            answers[name] = error.cause
        except ray.exceptions.RayError as error:
            answers[name] = error
    return answers
