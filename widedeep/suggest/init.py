"""From files to the text of a recipe that trains on them: what `widedeep init` does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from widedeep.errors import ColumnError, DataError, UsageError
from widedeep.recipe.load import parse_recipe
from widedeep.recipe.schema import FormatSettings
from widedeep.source.blocks import require_columns
from widedeep.source.paths import Source, can_be_read_again, expand_paths
from widedeep.source.streams import uncompressed_name
from widedeep.suggest.look import look, shown
from widedeep.suggest.spread_sample import SpreadSample, spread_sample
from widedeep.suggest.suggestion import suggest
from widedeep.suggest.text import recipe_text
from widedeep.table.typed_columns import typed_columns

_NAMED = 20
"""Columns that a note names; the recipe names all."""
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
    valid: Sequence[str] = (),
    test: Sequence[str] = (),
    time: str | None = None,
    group: str | None = None,
    recipe_folder: Path,
    name: str | None = None,
) -> InitResult:
    """A recipe for the table that the files are parts of; its paths start from `recipe_folder`.

    Files called train, valid and test are these splits; `valid` and `test` name theirs outright. Of these only the
    layout and the columns are read: what is suggested comes from the train files, and a column that other files lack is
    left out. `name` defaults to the first file's stem. Raises UsageError, ColumnError, DataError.
    """
    by_split = _by_split(files, {"valid": valid, "test": test})
    _refuse_shared_files(by_split)
    train = expand_paths(by_split["train"], Path())
    sample = spread_sample(train, label)
    require_columns(
        [column for column in (time, group) if column], [*sample.frame.columns, *sample.left_out], str(train[0])
    )
    lacking = _lacking_columns(sample, {split: of for split, of in by_split.items() if split != "train"}, label)
    for option, column in (("time", time), ("group", group)):
        if column in lacking:
            raise ColumnError(f"--{option} {column}: {lacking[column]}; every split needs it")
        if column in sample.left_out:
            raise ColumnError(f"--{option} {column}: cannot be used: {sample.left_out[column]}")
    kept = [column for column in sample.frame.columns if column not in lacking]
    sample = replace(sample, frame=sample.frame[kept], left_out=sample.left_out | lacking)
    seen = look(sample, label, str(train[0]), time)
    paths = {split: [_as_seen_from(recipe_folder, file) for file in of_split] for split, of_split in by_split.items()}
    suggestion = suggest(seen, paths, name or _stem(train[0]), time=time, group=group)
    text = recipe_text(suggestion)
    # What is handed out reads back, whatever the columns are called.
    typed_columns(parse_recipe(text, "the suggested recipe", recipe_folder, suggestion.name).recipe)
    return InitResult(text, (*_once_notes(train), *_lacking_notes(lacking), *suggestion.notes))


def _by_split(files: Sequence[str], named: dict[str, Sequence[str]]) -> dict[str, list[str]]:
    """The files by split: those `named` for one, and the others as their names speak of it."""
    by_split = _by_name(files)
    for split, of_split in named.items():
        if of_split and split in by_split:
            raise UsageError(
                f"{by_split[split][0]}: is {split} by its name, and --{split} names {of_split[0]}: keep one of the two"
            )
        if of_split:
            by_split[split] = list(of_split)
    return {split: by_split[split] for split in ("train", "valid", "test") if split in by_split}


def _by_name(files: Sequence[str]) -> dict[str, list[str]]:
    """All are train unless one is called so and others otherwise."""
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


def _refuse_shared_files(by_split: dict[str, list[str]]) -> None:
    taken: dict[Source, str] = {}
    for split, of_split in by_split.items():
        for file in expand_paths(of_split, Path()):
            place = file if isinstance(file, str) else file.resolve()
            if taken.setdefault(place, split) != split:
                raise UsageError(f"{file}: named as {taken[place]} and as {split}: a row may be in one split only")


def _refuse_other_layout(train: SpreadSample, other: SpreadSample, name: str) -> None:
    """`data.format` holds for all files."""
    if not (train.is_text and other.is_text):
        return
    for key in ("separator", "header", "skip_lines", "comment", "escape"):
        ours, theirs = (one.format.get(key, getattr(FormatSettings(), key)) for one in (train, other))
        if ours != theirs:
            raise DataError(
                f"{name}: read with {key} {theirs!r}, the train files with {ours!r}, and data.format holds for all: "
                "write them alike"
            )


def _lacking_columns(train: SpreadSample, others: dict[str, list[str]], label: str) -> dict[str, str]:
    """Columns of the train files that those of another split lack, with the file that does.

    Raises ColumnError where that is the label.
    """
    lacking: dict[str, str] = {}
    for of_split in others.values():
        for file in expand_paths(of_split, Path()):
            seen = spread_sample([file], label, max_rows=1, head_only=True)
            _refuse_other_layout(train, seen, str(file))
            columns = {*seen.frame.columns, *seen.left_out}
            for column in train.frame.columns:
                if column not in columns:
                    lacking.setdefault(column, f"{file} has no such column")
    return lacking


def _once_notes(files: Sequence[Source]) -> list[str]:
    return [
        f"{file}: a stream that gives its rows once, looked at from its front: have the recipe name a file"
        for file in files
        if not can_be_read_again(file)
    ]


def _lacking_notes(lacking: dict[str, str]) -> list[str]:
    by_reason: dict[str, list[str]] = {}
    for column, reason in lacking.items():
        by_reason.setdefault(reason.removesuffix(" has no such column"), []).append(column)
    return [
        f"{file} lacks {_some(columns)}, which the train files have: left out" for file, columns in by_reason.items()
    ]


def _some(columns: Sequence[str]) -> str:
    more = f" and {len(columns) - _NAMED} more columns" if len(columns) > _NAMED else ""
    return ", ".join(shown(column) for column in columns[:_NAMED]) + more


def _stem(file: Source) -> str:
    path = uncompressed_name(Path(str(file).rstrip("/")))
    return path.stem or path.name


def _as_seen_from(folder: Path, file: str) -> str:
    """Relative where it was given so, or lies below the recipe; else as it is."""
    seen, path, base = file, os.path.abspath(file), os.path.abspath(folder)
    if "://" not in file and (not os.path.isabs(file) or os.path.commonpath([path, base]) == base):
        seen = os.path.relpath(path, base)
    try:
        seen.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{seen!r}: the path is not valid text, which a recipe must be: rename the file") from None
    return seen
