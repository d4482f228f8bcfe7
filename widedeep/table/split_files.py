"""Files that the recipe names for more than one split, under whatever names: a link, a glob, another spelling."""

import filecmp
from collections.abc import Mapping, Sequence
from pathlib import Path

from widedeep.errors import Fault, RecipeError
from widedeep.reporting import Reporter
from widedeep.source.paths import Source

_Identity = str | tuple[int, int]
"""A URL, or the device and inode of a file."""


def check_split_files(files: Mapping[str, Sequence[Source]], reporter: Reporter) -> None:
    """Warn of a file that is named twice for a split, or for valid and test.

    Raises RecipeError for a train file that is named for valid or test too.
    """
    splits: dict[_Identity, str] = {}
    for split, sources in files.items():
        for source in sources:
            first = splits.setdefault(_identity(source), split)
            if first == "train" and split != "train":
                message = (
                    f"{source} is a file of data.train too: rows that a model was trained on tell nothing of new ones; "
                    f"name other files, or leave data.{split} out, and its rows are split off the train files"
                )
                raise RecipeError([Fault(f"data.{split}", message)])
            if first != split:
                reporter.warn(
                    f"data.{split}: {source} is a file of data.{first} too: the rows that choose the best epoch make "
                    "the final figures look better than they are"
                )
    _warn_of_copies(files, reporter)
    for split, sources in files.items():
        if len({_identity(source) for source in sources}) < len(sources):
            reporter.warn(f"data.{split}: names a file twice, by another name or a link: its rows count twice")


def _warn_of_copies(files: Mapping[str, Sequence[Source]], reporter: Reporter) -> None:
    """Warn of a valid or test file with the very bytes of a train file."""
    known: dict[int, list[Path]] = {}
    for source in files.get("train", ()):
        if isinstance(source, Path) and source.is_file():
            known.setdefault(source.stat().st_size, []).append(source)
    for split, sources in files.items():
        for source in sources if split != "train" else ():
            # Reading stops at the first byte that differs.
            alike = known.get(source.stat().st_size, []) if isinstance(source, Path) and source.is_file() else []
            copied = next((original for original in alike if filecmp.cmp(source, original, shallow=False)), None)
            if copied is not None:
                reporter.warn(
                    f"data.{split}: {source} is a copy of {copied}, a file of data.train: rows that a model was "
                    "trained on tell nothing of new ones"
                )


def _identity(source: Source) -> _Identity:
    if isinstance(source, Path):
        status = source.stat()
        return status.st_dev, status.st_ino
    return source
