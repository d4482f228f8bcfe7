"""A recipe that is plain data already, such as a dictionary in a notebook."""

import os
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from widedeep.errors import Fault, RecipeError
from widedeep.recipe.load import LoadedRecipe, recipe_of
from widedeep.recipe.places import Finding, KeyPath
from widedeep.recipe.strict_yaml import MOST_DEPTH, Document, TooLargeError

_MOST_VALUES = 1_000_000


def recipe_of_data(data: Mapping[str, Any], base_dir: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """The recipe that `data` says with the keys of a recipe file; `data` itself stays as it is.

    Paths may be `Path`s, lists tuples, and numbers those of NumPy. Texts stay as they are: `${NAME}` stands for the
    environment in files only. Raises RecipeError with every fault at once.
    """
    document = Document()
    try:
        document.data = _plain(data, (), document)
    except TooLargeError as error:
        raise RecipeError([Fault("", str(error))]) from None
    return recipe_of(document, "", base_dir, "recipe", overrides)


def _plain(value: Any, path: KeyPath, document: Document) -> Any:
    document.lines[path] = None
    if len(path) > MOST_DEPTH:
        raise TooLargeError("nests too deeply, or a part of it holds itself")
    if len(document.lines) > _MOST_VALUES:
        raise TooLargeError(f"has more than {_MOST_VALUES:,} values: some part of it stands in it over and over")
    match value:
        case Mapping():
            for key in value:
                if not isinstance(key, str):
                    document.findings.append(Finding(path, f"a key must be text, is {key!r}"))
            keys = (key for key in value if isinstance(key, str))
            return {str(key): _plain(value[key], (*path, str(key)), document) for key in keys}
        case str():
            return str(value)
        case bool() | None:
            return value
        case Integral():
            return int(value)
        case Real():
            return float(value)
        case os.PathLike():
            return os.fspath(value)
        case Sequence():
            return [_plain(entry, (*path, index), document) for index, entry in enumerate(value)]
        case _:
            return value
