"""Atomic writes, so that nothing half-written is ever read: temporary name, fsync, rename. Checks of permissions."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError, WriteError

_CANNOT_WRITE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
}
# Polars wraps some write failures in its own exceptions; the operating system's words survive in their text.
_CANNOT_WRITE_WORDS = tuple(os.strerror(code) for code in sorted(_CANNOT_WRITE))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a full disk, a read-only place or a missing permission into a WriteError that names `path`."""
    try:
        yield
    except OSError as error:
        if error.errno in _CANNOT_WRITE or (error.errno is None and _says_cannot_write(error)):
            reason = error.strerror or str(error)
            raise WriteError(f"{path}: cannot write: {reason}; free some space or choose another place") from error
        raise
    except Exception as error:
        if _says_cannot_write(error):
            raise WriteError(f"{path}: cannot write: {error}; free some space or choose another place") from error
        raise


def _says_cannot_write(error: Exception) -> bool:
    return type(error).__module__.startswith(("polars", "safetensors", "builtins")) and any(
        words in str(error) for words in _CANNOT_WRITE_WORDS
    )


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; on success it is synced and takes `path`'s place, else it is
    removed.

    Its permissions are those of a plain new file, whatever library wrote it.
    """
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with writing(path):
            temporary.unlink(missing_ok=True)
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # safetensors replaces the file by one of its own, which nobody but the owner may read.
            if temporary.stat().st_mode != mode:
                temporary.chmod(mode)
            sync_file(temporary)
            os.replace(temporary, path)
            sync_directory(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside `path`; on success it takes `path`'s place, else it is removed."""
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with writing(path):
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    try:
        with writing(path):
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    sync_file(file)
            shutil.rmtree(path, ignore_errors=True)
            os.replace(temporary, path)
            sync_directory(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_readable(path: Path) -> None:
    """Raise ArtefactError if a file of a run or a stage exists but may not be read.

    To some readers such a file looks as if it were missing, so call this first. Any other fault is theirs to tell.
    """
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise ArtefactError(
            f"{path}: you have no permission to read it: ask its owner for that (chmod a+r), or for a copy of your own"
        ) from error
    except OSError:
        return


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, atomically."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), atomically."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sync_file(path: Path) -> None:
    """Ask the operating system to put a file's bytes on the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Ask the operating system to put a directory's names on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
