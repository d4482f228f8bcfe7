"""Workers of a Dask scheduler. It hands out a part once more when the worker that had it is gone."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widedeep.errors import UsageError, WorkersError
from widedeep.workers import MOST_TRIES, Workers, died_too_often, outcome
from widedeep.workers.clusters import check_address, check_workers

if TYPE_CHECKING:
    from distributed import Client

_PATIENCE = 10
"""Seconds in which a scheduler must answer, and must have a worker."""
_LOOKS = 2.0
"""Seconds after which to look whether there are workers still, where no part is finished meanwhile."""


class DaskWorkers(Workers):
    """The workers of a scheduler that answers."""

    def __init__(self, where: str, client: "Client") -> None:
        self._where, self._client = where, client

    def _outcomes(
        self, function_name: tuple[str, str], pickled: Iterator[bytes]
    ) -> Iterator[tuple[int, Any, BaseException | None]]:
        from distributed import Future, as_completed
        from distributed.scheduler import KilledWorker

        futures: dict[Future, int] = {}
        try:
            for number, item in enumerate(pickled):
                futures[self._client.submit(outcome, function_name, item, pure=False, priority=-number)] = number
            waiting = set(futures)
            idle = 0.0
            while waiting:
                completed = as_completed(list(waiting), timeout=_LOOKS, loop=self._client.loop)
                try:
                    for future in completed:
                        waiting.discard(future)
                        idle = 0.0
                        number = futures[future]
                        if future.status == "finished":
                            yield number, *future.result()
                        elif future.status == "error" and isinstance(future.exception(), KilledWorker):
                            yield number, None, died_too_often(f"Dask's allowed-failures, {MOST_TRIES} by default")
                        elif future.status == "error":
                            yield number, None, WorkersError(f"--workers {self._where}: {future.exception()}")
                        else:
                            yield number, None, WorkersError(f"--workers {self._where}: the scheduler is gone")
                        if future.status == "finished":
                            future.release()
                except TimeoutError:
                    idle = 0.0 if self._has_workers() else idle + _LOOKS
                    if idle >= _PATIENCE:
                        raise WorkersError(f"--workers {self._where}: all workers are gone") from None
        finally:
            self._client.cancel(list(futures), force=True)

    def _has_workers(self) -> bool:
        try:
            return bool(self._client.scheduler_info(n_workers=1)["workers"]) and bool(self._client.nthreads())
        except Exception:  # whatever a client without its scheduler raises
            return False


@contextmanager
def open_dask(where: str, folder: Path) -> Iterator[DaskWorkers]:
    """The workers of the scheduler at `where`, which see `folder`. Raises what `open_workers` does."""
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError(f"--workers {where}: Dask is not installed: pip install 'widedeep[dask]'") from error
    check_address(where)
    try:
        client = Client(where, timeout=_PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WorkersError(f"--workers {where}: no Dask scheduler answers there: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=_PATIENCE)
        except TimeoutError as error:
            raise WorkersError(f"--workers {where}: the scheduler has no workers: start some") from error

        def ask_all(function: Any, *arguments: Any) -> dict[str, Any]:
            return dict(client.run(function, *arguments, on_error="return"))

        check_workers(where, folder, ask_all)
        yield DaskWorkers(where, client)
