"""Which folders are Delta or Iceberg tables: those of which a log of their own says what belongs to them, and when."""

import re
from pathlib import Path

from widedeep.errors import DataError

_COMMIT = re.compile(r"\d{20}(?:\.checkpoint\b.*)?\.(?:json|parquet)")
_DELTA_LOG = "_delta_log"
_METADATA = re.compile(r"v?(\d+)(?:-[^.]*)?(?:\.gz)?\.metadata\.json(?:\.gz)?")


def table_log(path: Path) -> Path | None:
    """The newest file of the log of a table, which changes with it; None where the folder is no table.

    Raises DataError where it cannot be told which file is the newest.
    """
    commits = _named_in(path / _DELTA_LOG, _COMMIT)
    if commits:
        return commits[-1]
    metadata = _named_in(path / "metadata", _METADATA)
    if not metadata:
        return None
    numbers = {file: int(_METADATA.fullmatch(file.name)[1]) for file in metadata}  # type: ignore[index]
    newest = [file for file, number in numbers.items() if number == max(numbers.values())]
    if len(newest) > 1:
        states = " and ".join(file.name for file in newest[:2])
        raise DataError(f"{path}: an Iceberg table of which nobody can tell the newest state: there are {states}")
    return newest[0]


def is_delta(path: Path) -> bool:
    """Whether a folder is a Delta table."""
    return bool(_named_in(path / _DELTA_LOG, _COMMIT))


def log_of_version(path: Path, version: int | None) -> Path | None:
    """The file of a table's log that changes if the rows of `version` (None: the newest) do; None where none can.

    Of a Delta table whose log was shortened it may change although they do not.
    """
    if version is None:
        return table_log(path)
    if not is_delta(path):
        return None  # a snapshot of Iceberg has a number that no other has
    commit = path / _DELTA_LOG / f"{version:020d}.json"
    return commit if commit.exists() else table_log(path)


def _named_in(folder: Path, name: "re.Pattern[str]") -> list[Path]:
    return sorted(file for file in folder.iterdir() if name.fullmatch(file.name)) if folder.is_dir() else []
