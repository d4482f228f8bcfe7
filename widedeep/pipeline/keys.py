"""Stage keys: hashes of what a stage depends on, which is a part of the recipe, its input and the format versions."""

import hashlib
import json
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_PROCESS = secrets.token_hex(16)
"""Differs from process to process."""


def key_of(facts: Any) -> str:
    """A hash of JSON values as 16 hexadecimal digits; the order of an object's keys does not matter."""
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # A path that is not UTF-8 gives its own bytes.
    return hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).hexdigest()


def file_identity(paths: Iterable[Path]) -> list[list[str | int]]:
    """What tells one state of the files from another without reading them: path, size and time of the last change.

    What a named pipe will give cannot be known: no other process takes what this one made of it for its own.
    """
    identity: list[list[str | int]] = []
    for path in paths:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            identity.append([str(path.resolve()), status.st_size, status.st_mtime_ns])
        else:
            identity.append([str(path), _PROCESS])
    return identity
