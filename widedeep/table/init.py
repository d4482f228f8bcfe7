"""From files to the text of a recipe that trains on them: what `widedeep init` does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from widedeep.errors import UsageError
from widedeep.recipe.load import parse_recipe
from widedeep.table.blocks import require_columns
from widedeep.table.look import look
from widedeep.table.sources import Source, expand_paths
from widedeep.table.spread_sample import spread_sample
from widedeep.table.streams import uncompressed_name
from widedeep.table.suggest import suggest
from widedeep.table.suggest_text import recipe_text
from widedeep.table.typed import typed_columns

_PARTS = {
    "train": ("train", "training"),
    "valid": ("valid", "validation", "val", "dev"),
    "test": ("test", "testing"),
}


@dataclass(frozen=True)
class InitResult:
    """A recipe and what to say about it."""

    text: str
    notes: tuple[str, ...]


def init_recipe(
    files: Sequence[str],
    label: str,
    *,
    time: str | None = None,
    group: str | None = None,
    recipe_folder: Path,
    name: str | None = None,
) -> InitResult:
    """A recipe for the table that the files are parts of; its paths start from `recipe_folder`.

    Files called train, valid and test are these splits. `name` defaults to the first file's stem. Raises UsageError,
    ColumnError, DataError.
    """
    by_split = _by_split(files)
    train = expand_paths(by_split["train"], Path())
    sample = spread_sample(train, label)
    require_columns(
        [column for column in (time, group) if column], [*sample.frame.columns, *sample.left_out], str(train[0])
    )
    seen = look(sample, label, str(train[0]))
    paths = {split: [_as_seen_from(recipe_folder, file) for file in of_split] for split, of_split in by_split.items()}
    suggestion = suggest(seen, paths, name or _stem(train[0]), time=time, group=group)
    text = recipe_text(suggestion)
    # What is handed out reads back, whatever the columns are called.
    typed_columns(parse_recipe(text, "the suggested recipe", recipe_folder, suggestion.name).recipe)
    return InitResult(text, suggestion.notes)


def _by_split(files: Sequence[str]) -> dict[str, list[str]]:
    """The files by the split that their names speak of; all are train unless one is called so and others otherwise."""
    parts: dict[str, list[str]] = {"train": [], "valid": [], "test": []}
    for file in files:
        stem = _stem(Path(file)).lower()
        part = next((part for part, words in _PARTS.items() if stem in words), None)
        if part is None:
            return {"train": list(files)}
        parts[part].append(file)
    if not parts["train"]:
        return {"train": list(files)}
    return {part: of_part for part, of_part in parts.items() if of_part}


def _stem(file: Source) -> str:
    path = uncompressed_name(Path(str(file).rstrip("/")))
    return path.stem or path.name


def _as_seen_from(folder: Path, file: str) -> str:
    """Relative where it was given so, or lies below the recipe; else as it is."""
    try:
        file.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{file!r}: the path is not valid text, which a recipe must be: rename the file") from None
    if "://" in file:
        return file
    path, base = os.path.abspath(file), os.path.abspath(folder)
    if os.path.isabs(file) and os.path.commonpath([path, base]) != base:
        return file
    return os.path.relpath(path, base)
