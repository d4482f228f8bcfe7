"""A log of commands: a line of JSON for each, whole though several processes append at once."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from widedeep.files import writing

from .boundary import exit_code


@contextmanager
def logged(path: Path, run: str) -> Iterator[dict[str, Any]]:
    """Yield what to say of a command besides its time, seconds and exit code, and append it all to `path`.

    A command that fails has its line too. Raises WriteError, before anything is done, for a log that cannot be written.
    """
    facts: dict[str, Any] = {"run": run, "rows": 0, "limits": []}
    begun, clock, code = datetime.now(UTC), time.monotonic(), 0
    with writing(path):
        log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        yield facts
    except BaseException as error:
        code = exit_code(error)
        limits = getattr(error, "limits", None)
        facts |= {} if limits is None else {"limits": limits}
        facts["message"] = str(error)
        raise
    finally:
        seconds = round(time.monotonic() - clock, 3)
        line = {"time": begun.isoformat(timespec="seconds"), **facts, "seconds": seconds, "exit": code}
        try:
            with writing(path):
                fcntl.flock(log, fcntl.LOCK_EX)
                rest = (json.dumps(line, default=str) + "\n").encode()
                while rest:
                    rest = rest[os.write(log, rest) :]
        finally:
            os.close(log)
