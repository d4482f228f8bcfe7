"""The error boundary: whatever ends a command becomes a message on stderr and the documented exit code."""

import contextlib
import errno
import os
import re
import signal
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import IO

from widedeep.errors import (
    ArtefactError,
    DataError,
    RecipeError,
    TrainingError,
    WidedeepError,
    WriteError,
    is_out_of_memory,
)
from widedeep.figures import visible, visible_message

EXIT_CODES = """\
Exit codes:
  0    done
  1    a bug: a traceback, with where to report it
  2    usage or recipe; a column that the table lacks; output exists
  3    input data: missing, unreadable or wrong content
  4    an artefact: missing, unfinished, corrupt, of a newer format, or locked
  5    training: non-finite loss, out of memory; a process or workers lost
  6    cannot write: disk full, read-only, no permission
  7    refused: rows unlike those of training, or a run unfit to be served
  130  interrupted (Ctrl-C)
  143  terminated (SIGTERM)
  141  the reader of stdout has gone"""

_CANNOT_WRITE = {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EPERM, errno.EDQUOT, errno.EFBIG}
_OF_A_DEVICE = {errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT}
"""Faults of a disk or of a network's, which come without a file's name where the file is open already."""
# Rust libraries (Polars) report the operating system's error as text; its number stands at the end.
_OS_ERROR_IN_TEXT = re.compile(r"\(os error (\d+)\)")
_WIDTH, _LEAST_WIDTH = 80, 40
_REPORTED_VERSIONS = ("numpy", "polars", "polars-hash", "pydantic", "safetensors", "torch", "typer")


class Terminated(BaseException):
    """SIGTERM arrived. Not an Exception, so that no `except Exception` on the way out swallows it."""


def guarded(command: Callable[[], int]) -> int:
    """Run `command` and return the process's exit code. Every failure ends here; only a bug leaves a traceback.

    While the command runs, SIGTERM unwinds the stack as Ctrl-C does, so that temporary files are removed.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        code = command()
        if sys.stdout is not None:
            sys.stdout.flush()
    except SystemExit:
        raise
    except BaseException as error:
        code = _report(error)
    finally:
        signal.signal(signal.SIGTERM, previous)
        _drop_unwritable_stdout()
    return code


def _terminate(signal_number: int, frame: FrameType | None) -> None:
    # A second SIGTERM must not cut the clean-up short: process groups often receive two.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Terminated


def exit_code(error: BaseException) -> int:
    """The exit code that `error` ends a command with, as `guarded` reports it."""
    if (known := _known(error)) is not None:
        return known.exit_code
    if isinstance(error, KeyboardInterrupt):
        return 128 + signal.SIGINT
    if isinstance(error, Terminated):
        return 128 + signal.SIGTERM
    return 128 + signal.SIGPIPE if _system_error_number(error) == errno.EPIPE else 1


def _report(error: BaseException) -> int:
    """Write on stderr what happened, and return the exit code."""
    known, code = _known(error), exit_code(error)
    if known is not None:
        _say_known(known)
    elif isinstance(error, KeyboardInterrupt):
        _say("widedeep: interrupted")
    elif isinstance(error, Terminated):
        _say("widedeep: terminated")
    elif code == 1:
        _say_bug(error)
    return code


def _known(error: BaseException) -> WidedeepError | None:
    """What `error` is told as in a message of ours; None for an interrupt, a pipe that is gone and a bug."""
    if isinstance(error, WidedeepError) and (isinstance(error, TrainingError) or not is_out_of_memory(error)):
        return error
    if isinstance(error, KeyboardInterrupt | Terminated):
        return None
    if is_out_of_memory(error):
        advice = "close other programs or raise the limit on memory, or try a smaller `training.batch_size`"
        return TrainingError(f"out of memory: {advice}")
    number = _system_error_number(error)
    return None if number is None or number == errno.EPIPE else _told_by_system(error, number)


def _told_by_system(error: BaseException, number: int) -> WidedeepError | None:
    """The operating system's fault as one of writing, of an artefact or of input data; None if it tells no place."""
    named = getattr(error, "filename", None)
    place = os.fsdecode(named) if isinstance(named, str | bytes) else None
    reason = os.strerror(number)
    unreadable = place is not None and os.path.isfile(place) and not os.access(place, os.R_OK)
    if number in _CANNOT_WRITE and not unreadable:
        advice = "free some space, or choose a place where you may write"
        return WriteError(f"{place or 'output'}: cannot write: {reason}: {advice}")
    if place is not None and _is_artefact(Path(place)):
        return ArtefactError(f"{place}: cannot be read: {reason}: restore it from a copy, or make it again")
    if place is not None or number in _OF_A_DEVICE:
        return DataError(f"{place or 'a file'}: cannot be read: {reason}: see that it is there and that its disk works")
    return None


def _is_artefact(path: Path) -> bool:
    """Whether a path leads into a run or a stage."""
    return any(
        os.path.exists(folder / "manifest.json") or folder.parent.parent.name == "stages" for folder in path.parents
    )


def _system_error_number(error: BaseException) -> int | None:
    """The operating system's error number in `error`; None if it is no system error."""
    if isinstance(error, BrokenPipeError):
        return errno.EPIPE
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    match = _OS_ERROR_IN_TEXT.search(str(error))
    return int(match.group(1)) if match else None


def _say_known(error: WidedeepError) -> None:
    messages = [str(fault) for fault in error.faults] if isinstance(error, RecipeError) else [str(error)]
    for message in messages:
        _say(wrapped(f"widedeep: error: {visible_message(message)}", sys.stderr))


def _say_bug(error: BaseException) -> None:
    # Not imported at the top: `--help` should not wait for them.
    import platform
    import traceback

    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        _say(visible(line))
    versions = [f"widedeep {_version('widedeep')}", f"Python {platform.python_version()}", platform.platform()]
    versions += [f"{name} {_version(name)}" for name in _REPORTED_VERSIONS]
    _say("widedeep: this is a bug in widedeep, not a fault of yours. Please report it on the project's issue tracker,")
    _say("with the lines above, the command line, the recipe and these versions:")
    _say(f"  {', '.join(versions)}")


def _version(distribution: str) -> str:
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "absent"


def _say(line: str) -> None:
    # If stderr is closed, only the exit code can tell.
    with contextlib.suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()


def _drop_unwritable_stdout() -> None:
    """Send stdout to the null device if its buffer cannot be written: else the interpreter would complain at exit."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def wrapped(message: str, stream: IO[str] | None) -> str:
    """`message` in lines of the terminal's width, all but the first indented; unchanged if `stream` is no terminal:
    in a pipe each message is one line, so that `grep` finds it whole. A word, such as a path, is never cut.
    """
    if stream is None or not stream.isatty():
        return message
    width = max(_width(stream), _LEAST_WIDTH)
    return "\n".join(
        textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        for line in message.split("\n")
    )


def _width(stream: IO[str]) -> int:
    if (columns := os.environ.get("COLUMNS", "")).isdigit():
        return int(columns)
    try:
        return os.get_terminal_size(stream.fileno()).columns or _WIDTH
    except OSError:
        return _WIDTH
