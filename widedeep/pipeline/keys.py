"""Stage keys: hashes of what a stage depends on, which is a part of the recipe, its input and the format versions."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def key_of(facts: Any) -> str:
    """A hash of JSON values as 16 hexadecimal digits; the order of an object's keys does not matter."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def file_identity(paths: Iterable[Path]) -> list[list[str | int]]:
    """Path, size in bytes and last change in nanoseconds of each file: a changed file is noticed without reading it."""
    identity: list[list[str | int]] = []
    for path in paths:
        status = path.stat()
        identity.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
    return identity
