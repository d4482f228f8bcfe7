"""Files of runs and stages as they are read: JSON of ours, the shape that it must have, digests, what is unreadable."""

import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from widedeep.errors import ArtefactError
from widedeep.files import check_readable

DAMAGED = "the run is damaged: restore it from a copy, or train it again"


def read_json_artefact(path: Path, meaning: str) -> Any:
    """Parse a JSON file of ours. Raises ArtefactError, ending in `meaning`, if it is missing or damaged."""
    check_readable(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse_constant)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: cannot read it ({error.__class__.__name__}): {meaning}") from error
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path}:{error.lineno}: not valid JSON ({error.msg}): {meaning}") from error
    except ValueError as error:
        raise ArtefactError(f"{path}: not valid JSON ({error}): {meaning}") from error
    except RecursionError:
        raise ArtefactError(f"{path}: not valid JSON of ours (it nests too deeply): {meaning}") from None


def read_json_lines(path: Path, meaning: str) -> Any:
    """Parse a file of JSON lines of ours; no lines if there is no such file. Raises ArtefactError with `meaning`."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line, parse_constant=refuse_constant) for line in lines]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise ArtefactError(f"{path}: {meaning}") from error


def refuse_constant(name: str) -> None:
    """For `json.loads`: raises ValueError for NaN and infinities, which strict JSON lacks."""
    raise ValueError(f"{name} is no number")


@contextmanager
def telling_stage() -> Iterator[None]:
    """Turn the advice of what reads a file of a run into that for a stage, which is made anew once it is deleted."""
    try:
        yield
    except ArtefactError as error:
        told = str(error)
        what = told.removesuffix(f": {DAMAGED}")  # which has a colon of its own
        if what == told:
            what, _, _ = told.rpartition(": ")
        raise ArtefactError(f"{what}: the stage is damaged: delete stages/ and run again") from error


def require_shape(value: Any, shape: Any, path: Path) -> None:
    """Raise ArtefactError, which names the file `path` and the place in it, unless the JSON `value` has `shape`.

    A shape is a type (float: a finite number, whole ones too; int: one of 64 bits), None, `(shape, …)` for a choice,
    `[shape]` for a list, of so many entries if there are several, `{str: shape}` for an object with any keys,
    `{"key": shape, "key?": shape}` for one with these keys, of which those with a question mark, and others, may be
    absent; `Any` fits all.
    """
    if (misfit := _misfit(value, shape, "")) is not None:
        raise ArtefactError(f"{path}: {misfit}: {DAMAGED}")


def _misfit(value: Any, shape: Any, place: str) -> str | None:
    """What does not fit, and where; None if all fits."""
    if isinstance(shape, tuple):
        misfits = [_misfit(value, choice, place) for choice in shape]
        return None if None in misfits else misfits[0]
    if isinstance(shape, list) and isinstance(value, list):
        if len(shape) > 1 and len(value) != len(shape):
            return f"{place} must have {len(shape)} entries, has {len(value)}"
        return _first_misfit(
            (entry, shape[number % len(shape)], f"{place}[{number}]") for number, entry in enumerate(value)
        )
    if isinstance(shape, dict) and isinstance(value, dict):
        below = f"{place}." if place else ""
        if str in shape:
            return _first_misfit((entry, shape[str], f"{below}{key[:40]}") for key, entry in value.items())
        if lacking := [key for key in shape if not key.endswith("?") and key not in value]:
            return f"{place or 'it'} lacks `{lacking[0]}`"
        keys = {key.removesuffix("?"): of_key for key, of_key in shape.items()}
        return _first_misfit((value[key], keys[key], f"{below}{key}") for key in keys if key in value)
    if shape is Any or _is_of_type(value, shape):
        return None
    kind: dict[Any, str] = {list: "a list", dict: "an object", None: "null", str: "a text", bool: "true or false"}
    kind |= {int: "a whole number", float: "a finite number"}
    wanted = kind[type(shape) if isinstance(shape, list | dict) else shape]
    return f"{place or 'its content'} must be {wanted}, is {_shown(value)}"


def _first_misfit(entries: Iterator[tuple[Any, Any, str]]) -> str | None:
    return next((misfit for entry in entries if (misfit := _misfit(*entry)) is not None), None)


def _is_of_type(value: Any, shape: Any) -> bool:
    if shape is float:
        return type(value) in (int, float) and abs(value) < 2.0**1023 and math.isfinite(value)
    if shape is int:
        return type(value) is int and -(2**63) <= value < 2**64
    return value is None if shape is None else isinstance(shape, type) and type(value) is shape


def _shown(value: Any) -> str:
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    return json.dumps(value)[:60]


def unreadable(path: Path, error: Exception) -> ArtefactError:
    """What to raise when a file of a stage cannot be read."""
    reason = getattr(error, "strerror", None) or error
    return ArtefactError(f"{path}: cannot be read: {reason}: delete stages/ and run again")


def digest_of_file(path: Path, advice: str = DAMAGED) -> str:
    """`digest_of_bytes` of a file's bytes. Raises ArtefactError, ending in `advice`, for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror}: {advice}") from error


def digest_of_bytes(content: bytes) -> str:
    """blake2b, 16 bytes in hexadecimal."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()
