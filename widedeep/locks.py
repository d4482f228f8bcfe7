"""Locks by files, which name who holds them, and end with their processes, however these end."""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from widedeep.errors import ArtefactError
from widedeep.files import is_elsewhere, is_gone, own_claim, writing

_WAIT_SECONDS = 0.2
_MOST_NAMELESS = 5
"""So often a lock is asked for again whose holder says nothing of itself."""
_MOST_HOLDERS_BYTES = 1 << 14
"""From this size on, a lock's file loses the lines of processes that are gone."""


@contextmanager
def locked(
    path: Path,
    lock_path: Path,
    choose: str,
    *,
    wait: bool,
    note: Callable[[str], None],
    keep: bool = True,
    shared: bool = False,
) -> Iterator[None]:
    """Lock `path` against other processes, by the file `lock_path`. The lock ends with the process, however that ends.

    If it is locked already, raises ArtefactError that names the other process and what to `choose`, or says so to
    `note` and waits; raises it also for a disk that keeps no locks. Unless `keep`, the file is gone afterwards. A
    `shared` lock keeps out those only that are not.
    """
    try:
        with _locked(path, lock_path, choose, wait=wait, note=note, keep=keep, shared=shared):
            yield
    except BaseException:
        # A signal that comes just as the file is made, or the lock is taken, would leave it.
        if not keep:
            _remove_idle_lock(lock_path)
        raise


@contextmanager
def _locked(
    path: Path,
    lock_path: Path,
    choose: str,
    *,
    wait: bool,
    note: Callable[[str], None],
    keep: bool,
    shared: bool,
) -> Iterator[None]:
    import fcntl  # not at the top: Windows, which lacks it, is told so in a message

    announced, nameless = False, 0
    while True:
        with writing(lock_path), writing(path):  # the lock is named only where it lies somewhere else
            lock_file = lock_path.open("a+", encoding="utf-8")
        with lock_file:
            try:
                fcntl.flock(lock_file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = _first_holder(lock_file)
                if holder is None and nameless < _MOST_NAMELESS:
                    # Who has just taken it is about to write who it is; who removes idle locks is gone in a moment.
                    nameless += 1
                    time.sleep(_WAIT_SECONDS)
                    continue
                holder = holder or "another process"
                if not wait:
                    raise ArtefactError(f"{path}: in use by {holder}; wait for it (--wait) or {choose}") from error
                if not announced:
                    note(f"waiting for {path}, in use by {holder}")
                    announced = True
                time.sleep(_WAIT_SECONDS)
                continue
            except OSError as error:
                raise without_locks(path, choose, error) from error
            if not _is_at(lock_file, lock_path):
                continue  # who held it before has removed it
            # Those who share it may write at once: none but the dead lines of a long file are taken out then.
            if not shared or (lock_file.tell() > _MOST_HOLDERS_BYTES and _first_holder(lock_file) is None):
                lock_file.truncate(0)
            command = " ".join(["widedeep", *sys.argv[1:]])[:200].replace("\n", " ")
            lock_file.write(f"process {os.getpid()} ({command})\t{own_claim()}\t{platform.node()}\n")
            lock_file.flush()
            try:
                yield
            finally:
                if not shared:
                    lock_file.truncate(0)
                if not keep:
                    with suppress(OSError):
                        lock_path.unlink()
            return


def without_locks(path: Path, choose: str, error: OSError) -> ArtefactError:
    """The fault of a disk that keeps no locks, or none any more."""
    return ArtefactError(
        f"{path}: cannot be locked: {error.strerror or error}; {choose}, on a disk that keeps locks (flock)"
    )


def is_locked(lock_path: Path, choose: str) -> bool:
    """Whether a process holds the lock of this file, on whatever machine that sees it. Raises ArtefactError for a disk
    that does not tell, with what to `choose`."""
    import fcntl  # not at the top, as in `locked`

    try:
        with lock_path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    except OSError as error:
        raise without_locks(lock_path, choose, error) from error
    return False


def _first_holder(lock_file: IO[str]) -> str | None:
    """Who was the first to take a lock, of those that may hold it still; None if its file names none of them."""
    lock_file.seek(0)
    for line in lock_file.read().splitlines():
        # Versions before this one wrote no claim, and held the lock alone.
        who, claim, machine = (*line.split("\t"), "", "")[:3]
        if who and not is_gone(claim):
            return f"{who} on {machine}" if machine and is_elsewhere(claim) else who
    return None


def remove_idle_locks(folder: Path, pattern: str) -> None:
    """Remove the lock files in `folder` that killed processes have left."""
    for path in folder.glob(pattern):
        _remove_idle_lock(path)


def _remove_idle_lock(path: Path) -> None:
    import fcntl  # not at the top, as in `locked`

    # It is no task of the caller's to clean up: what is held, or cannot be removed, stays.
    with suppress(OSError), path.open("r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who held it may have removed it since it was opened, and what lies here now is the lock of another.
        if _is_at(file, path):
            path.unlink()


def _is_at(file: IO[Any], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
