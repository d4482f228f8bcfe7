"""A dictionary that makes what it lacks and forgets all when it is full."""

from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")
_MOST_KEYS = 1 << 16


class Memo(dict[Key, Value], Generic[Key, Value]):
    """Key → value, made by `make` when a key is first asked for; at most `most_keys` of them are kept."""

    def __init__(self, make: Callable[[Key], Value], *, most_keys: int = _MOST_KEYS) -> None:
        super().__init__()
        self._make, self._most_keys = make, most_keys

    def __missing__(self, key: Key) -> Value:
        value = self._make(key)
        if len(self) >= self._most_keys:
            self.clear()
        self[key] = value
        return value
