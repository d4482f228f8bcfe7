"""What is asked of workers on other machines before they get any work: the same widedeep, and the work directory."""

import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from widedeep.errors import UsageError, WorkersError
from widedeep.files import writing

_SAME = ("widedeep", "polars")
"""Packages of which workers must have this process's release: other ones may give other bytes."""

_PATIENCE = 5
"""Seconds in which a connection must be made."""

AskAll = Callable[..., Mapping[str, Any]]
"""Calls a function with arguments on every worker: the name of each → what it gave, or the error that it raised."""


def check_address(where: str) -> None:
    """Raise WorkersError if nobody listens at `SCHEME://HOST:PORT`, UsageError for what is no such address.

    The libraries would try for half a minute.
    """
    try:
        parts = urlsplit(where)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or port is None:
        raise UsageError(f"--workers {where}: must be {where.partition(':')[0]}://HOST:PORT")
    try:
        socket.create_connection((host, port), timeout=_PATIENCE).close()
    except OSError as error:
        raise WorkersError(
            f"--workers {where}: nobody answers there ({error.strerror or error}): start the scheduler, or correct "
            "the address"
        ) from error


def check_workers(where: str, folder: Path, ask_all: AskAll) -> None:
    """Raise WorkersError for workers that lack a package, have another release of it, or do not see `folder`."""
    for package in _SAME:
        here = metadata.version(package)
        # A function of the standard library: a worker need not have widedeep to answer.
        for worker, there in ask_all(metadata.version, package).items():
            if isinstance(there, metadata.PackageNotFoundError):
                raise WorkersError(
                    f"--workers {where}: worker {worker} has no {package}: install release {here} there, in the "
                    "environment that the worker runs in"
                )
            if isinstance(there, BaseException):
                raise WorkersError(f"--workers {where}: worker {worker} does not answer: {there}") from there
            if there != here:
                raise WorkersError(
                    f"--workers {where}: worker {worker} has {package} {there} and this process {here}: install the "
                    "same release everywhere, as others may give other bytes"
                )
    with _token(folder) as token:
        for worker, sees in ask_all(os.path.isfile, str(token)).items():
            if sees is not True:
                raise WorkersError(
                    f"--workers {where}: worker {worker} does not see {folder.resolve()}: put --work on a disk that "
                    "all workers share, under the same path"
                )


@contextmanager
def _token(folder: Path) -> Iterator[Path]:
    token = folder.resolve() / f".token-{uuid.uuid4().hex}"
    with writing(token):
        token.touch()
    try:
        yield token
    finally:
        with suppress(OSError):
            token.unlink()
