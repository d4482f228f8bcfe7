"""Files that the recipe names for more than one split, under whatever names: a link, a glob, another spelling."""

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
    for split, sources in files.items():
        if len({_identity(source) for source in sources}) < len(sources):
            reporter.warn(f"data.{split}: names a file twice, by another name or a link: its rows count twice")


def _identity(source: Source) -> _Identity:
    if isinstance(source, Path):
        status = source.stat()
        return status.st_dev, status.st_ino
    return source
