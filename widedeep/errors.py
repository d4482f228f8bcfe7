"""Every exception that widedeep raises on purpose; the command line turns each into a message and an exit code."""

import errno
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class WidedeepError(Exception):
    """A failure with a known cause: its text is the whole message a user needs."""

    exit_code = 1

    def __reduce__(self) -> tuple[Any, ...]:
        # By default it would be made anew of its message, which is not what each of these classes is made of.
        return _as_it_was, (type(self), self.args, self.__dict__)


def _as_it_was(kind: type[WidedeepError], arguments: tuple[Any, ...], state: dict[str, Any]) -> WidedeepError:
    error = kind.__new__(kind)
    error.args = arguments
    error.__dict__.update(state)
    return error


class UsageError(WidedeepError):
    """The command line asks for something that does not exist or does not fit."""

    exit_code = 2


class OutputExistsError(UsageError):
    """The output is already there and `--force` was not given."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a recipe."""

    where: str
    """Dotted path of the setting, such as `training.wide.l1`; empty for the recipe as a whole."""
    message: str
    """The rule, the value and what to do."""
    line: int | None = None
    """1-based line in the recipe file, where one is known."""
    source: str = ""
    """The recipe's path, or `--set` for an override."""

    def __str__(self) -> str:
        place = self.source + (f":{self.line}" if self.line is not None else "")
        return ": ".join(part for part in (place, self.where, self.message) if part)


class RecipeError(WidedeepError):
    """A recipe has faults; the error carries all of them at once."""

    exit_code = 2

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class ColumnError(WidedeepError):
    """The recipe names a column that the table lacks."""

    exit_code = 2


class DataError(WidedeepError):
    """Input data is missing, unreadable or has wrong content."""

    exit_code = 3


class NoRowsError(DataError):
    """A file is empty, or has a header and no rows. Among others it may be passed over."""

    split: str | None = None
    """The split of a recipe whose files have no row between them, where that is known."""


class ColumnValuesError(DataError):
    """A column that is there holds a value, or a type, that cannot be read."""

    def __init__(self, place: str, column: str, reason: str) -> None:
        self.column = column
        self.reason = reason
        super().__init__(f"{place}: column {column!r}: {reason}")


class ArtefactError(WidedeepError):
    """A run, stage or checkpoint is missing, unfinished, corrupt, of a newer format or in use."""

    exit_code = 4


class TrainingError(WidedeepError):
    """Training cannot go on: a non-finite loss, out of memory, or a process of several that has ended."""

    exit_code = 5


class WorkersError(WidedeepError):
    """Nobody works: no scheduler, no workers, workers of another version or without the work folder, or they died."""

    exit_code = 5


_OUT_OF_MEMORY_WORDS = (
    *("out of memory", "allocate memory", "not enough memory", "memory allocation", "std::bad_alloc"),
    *("failed to map segment", "can't start new thread", "ThreadPoolBuildError"),
    *(_NO_MEMORY_NUMBER := (f"(os error {errno.ENOMEM})",)),
)
"""What libraries and the system say where a process may have no more memory; a thread needs some too."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether exhausted memory, of device or machine, is what led to `error`."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno == errno.ENOMEM):
            return True
        # Other errors quote values of the user's, which may say anything.
        of_system = isinstance(cause, RuntimeError | ImportError | OSError) or type(cause).__name__ == "PanicException"
        words = _OUT_OF_MEMORY_WORDS if of_system else _NO_MEMORY_NUMBER
        if not isinstance(cause, WidedeepError) and any(word in str(cause) for word in words):
            return True
        # What we raise on purpose says what it comes from; anything else may have come up while a fault was handled.
        cause = cause.__cause__ or (None if isinstance(cause, WidedeepError) else cause.__context__)
    return False


class WriteError(WidedeepError):
    """Output cannot be written: disk full, read-only, no permission."""

    exit_code = 6


class RefusedError(WidedeepError):
    """The rows to score are not such as the model knows: a limit of the recipe or of an option refuses them."""

    exit_code = 7

    def __init__(self, message: str, limits: Sequence[Mapping[str, Any]] = ()) -> None:
        self.limits = list(limits)
        """The limits that scored rows are past, as plain values."""
        super().__init__(message)


class UnfitRunError(WidedeepError):
    """A run is not fit to be served in place of the one that is."""

    exit_code = 7


class Interrupted(WidedeepError):
    """SIGINT or SIGTERM arrived; what had to be saved has been saved."""

    def __init__(self, signal_number: int, message: str) -> None:
        self.exit_code = 128 + signal_number
        super().__init__(message)
