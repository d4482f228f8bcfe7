"""Reading a recipe: strict YAML, overrides, validation with all faults at once, resolution."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from widedeep.errors import ArtefactError, Fault, RecipeError
from widedeep.recipe.base import MOST_NAME
from widedeep.recipe.checks import check_recipe
from widedeep.recipe.places import OVERRIDE_SOURCE, Finding, KeyPath, Places, told
from widedeep.recipe.resolve import resolve
from widedeep.recipe.schema import CrossSettings, Recipe
from widedeep.recipe.strict_yaml import Document, read_yaml
from widedeep.runs import RunDirectory

_STAND_IN = {"name": "stand-in", "data": {"train": "-", "label": "-"}, "features": {}}
"""Valid sections that replace faulty ones, so that the rest of a faulty recipe can still be checked."""

_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class LoadedRecipe:
    """A valid recipe, and where it came from."""

    recipe: Recipe
    """Fully resolved: overrides applied, defaults made explicit, parts that the kind lacks at their defaults."""
    path: Path | None
    """The file it was read from; None for plain data, and for a recipe made from another one."""
    base_dir: Path
    """The folder that its relative data paths start from."""
    notes: tuple[str, ...]
    """What the user should know, such as settings that the model's kind leaves out."""

    @property
    def title(self) -> str:
        """What a message calls it: its file, else its name."""
        return f"recipe {self.recipe.name}" if self.path is None else str(self.path)

    def changed(self, overrides: Sequence[str], overrides_dir: Path | None = None) -> "LoadedRecipe":
        """This recipe with `part.field=value` overrides on top. Raises RecipeError for their faults.

        Relative paths in them start from `overrides_dir`, by default from where the recipe's start.
        """
        from widedeep.recipe.dump import dump_recipe  # only here: a run that is scored has no use for it

        return self._read_again(dump_recipe(self.recipe), overrides, overrides_dir) if overrides else self

    def with_crosses(self, crosses: Sequence[CrossSettings]) -> "LoadedRecipe":
        """This recipe with `crosses`, such as `Discovery.crosses`, behind its own; one that it has already is left out.

        A kind of model that takes no crosses leaves them out, with a note. Raises RecipeError for their faults.
        """
        from widedeep.recipe.add_crosses import add_crosses  # only here, as above
        from widedeep.recipe.dump import dump_recipe

        return self._read_again(add_crosses(dump_recipe(self.recipe), crosses), ())

    def _read_again(self, text: str, overrides: Sequence[str], overrides_dir: Path | None = None) -> "LoadedRecipe":
        return parse_recipe(text, "", self.base_dir, self.recipe.name, overrides, overrides_dir)


def load_run_recipe(run: RunDirectory, manifest: Mapping[str, Any]) -> LoadedRecipe:
    """The resolved recipe of a finished run, whose manifest is given, and where its relative paths start.

    A run is data: its recipe reads no variable from the environment. Raises ArtefactError if the file is not the one
    that the run was finished with, may not be read, or holds no recipe.
    """
    with run.telling_removal():
        path = run.checked(run.recipe_path, manifest)
        # Runs of format 1 learnt every cross by gradient, which their recipes do not say.
        overrides = ["model.wide.crosses=gradient"] if manifest["format"] == 1 else []
        base_dir = Path(manifest["base_dir"])
        try:
            document = read_yaml(_read_text(path), _NO_VARIABLES)
            return replace(recipe_of(document, str(path), base_dir, run.path.parent.name, overrides), path=path)
        except RecipeError as error:
            fault, more = error.faults[0], len(error.faults) - 1
            others = f" (and {more} more fault{'s' * (more != 1)})" if more else ""
            raise ArtefactError(
                f"{fault}{others}: the run's own recipe is damaged: restore it from a copy, or train again"
            ) from error


def load_recipe(
    path: Path,
    overrides: Sequence[str] = (),
    *,
    base_dir: Path | None = None,
    name: str | None = None,
    overrides_dir: Path | None = None,
) -> LoadedRecipe:
    """Read a recipe file; `base_dir` defaults to its folder, `name` (for a recipe without one) to its stem.

    Relative paths in overrides start from `overrides_dir`, by default from `base_dir`. Raises RecipeError with every
    fault of the file and of the overrides, or if the file cannot be read as UTF-8 text.
    """
    text = _read_text(path)
    base_dir = path.parent if base_dir is None else base_dir
    return replace(parse_recipe(text, str(path), base_dir, name or path.stem, overrides, overrides_dir), path=path)


def parse_recipe(
    text: str,
    source: str,
    base_dir: Path,
    name: str,
    overrides: Sequence[str] = (),
    overrides_dir: Path | None = None,
) -> LoadedRecipe:
    """Read a recipe's text; `source` stands for the file in faults, `name` is used where the text gives none.

    Raises RecipeError with every fault at once.
    """
    return recipe_of(read_yaml(text), source, base_dir, name, overrides, overrides_dir)


def recipe_of(
    document: Document,
    source: str,
    base_dir: Path,
    name: str,
    overrides: Sequence[str],
    overrides_dir: Path | None = None,
) -> LoadedRecipe:
    """The recipe that a document says, whose data are changed in place; else as `parse_recipe`."""
    places = Places(source, document.lines)
    data = document.data
    if not isinstance(data, dict):
        raise RecipeError([places.fault(finding) for finding in document.findings or [_no_mapping(data)]])
    faults: list[Fault] = []
    if overrides:
        from widedeep.recipe.overrides import Folders, apply_overrides  # not at the top: a run's recipe is read without

        folders = None if overrides_dir is None else Folders(base_dir, overrides_dir)
        faults = apply_overrides(data, overrides, places, folders)
    data.setdefault("name", _fitting_name(name))
    recipe, findings = _validated(data, _still_there(document, places), places)
    faults += [places.fault(finding) for finding in findings]
    if recipe is None or faults:
        raise RecipeError(sorted(faults, key=lambda fault: (fault.source == OVERRIDE_SOURCE, fault.line or 0)))
    recipe, notes = resolve(recipe, data)
    if recipe.sweep is not None:
        from widedeep.recipe.sweep_space import space_findings  # only here: few recipes are searched

        if of_space := space_findings(recipe, recipe.sweep.space):
            raise RecipeError([places.fault(finding) for finding in of_space])
    return LoadedRecipe(recipe, None, base_dir, notes)


def resolve_paths(patterns: Sequence[str], base_dir: Path) -> tuple[str, ...]:
    """Paths and globs in normal form, from `base_dir` if relative: one place has one spelling. URLs stay."""
    return tuple(pattern if "://" in pattern else os.path.normpath(base_dir / pattern) for pattern in patterns)


def _read_text(path: Path) -> str:
    def refused(message: str, line: int | None = None) -> RecipeError:
        return RecipeError([Fault("", message, line, str(path))])

    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise refused("there is no such recipe file") from None
    except IsADirectoryError:
        raise refused("is a directory; a recipe is a YAML file") from None
    except OSError as error:
        raise refused(f"cannot be read: {error.strerror or error}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        rule = f"a recipe is UTF-8 text, has the byte 0x{content[error.start]:02x} here: save it as UTF-8"
        raise refused(rule, content.count(b"\n", 0, error.start) + 1) from error


def _no_mapping(data: Any) -> Finding:
    if data is None:
        return Finding((), "the recipe is empty: it needs at least `data` and `features`")
    return Finding((), f"a recipe is a mapping of sections such as `data:` and `features:`, is {told(data)}")


def _fitting_name(name: str) -> str:
    return (
        re.sub(r"^[^A-Za-z0-9]+|[^A-Za-z0-9._-]", lambda match: "-" if match.start() else "", name)[:MOST_NAME]
        or "recipe"
    )


def _still_there(document: Document, places: Places) -> list[Finding]:
    """The YAML reader's findings, without those about values that an override has replaced."""
    return [finding for finding in document.findings if not (finding.unread and finding.path in places.overridden)]


def _validated(data: dict[str, Any], of_reader: list[Finding], places: Places) -> tuple[Recipe | None, list[Finding]]:
    """The recipe, and all findings: of the YAML reader, of the schema, and between the sections that are valid."""
    unread = {finding.path for finding in of_reader if finding.unread}
    findings = list(of_reader)
    recipe = None
    frozen = {key: _with_tuples(value) for key, value in data.items()}
    try:
        recipe = checked = Recipe.model_validate(frozen, strict=True)
    except ValidationError as error:
        from widedeep.recipe.wording import findings_of  # not at the top: few recipes have a fault

        findings += [finding for finding in findings_of(error) if not _at_or_below(finding.path, unread)]
    faulty = {str(finding.path[0]) for finding in findings if finding.path}
    if recipe is None:
        sound = {key: value for key, value in frozen.items() if key in Recipe.model_fields and key not in faulty}
        checked = Recipe.model_validate(_STAND_IN | sound, strict=True)
    return recipe, findings + check_recipe(checked, places.cite, faulty)


def _with_tuples(value: Any) -> Any:
    """Lists as tuples, at every depth: the strict schema (no text for a number, no `true` for 1) takes no lists."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(_with_tuples(entry) for entry in value) if isinstance(value, list) else value


def _at_or_below(path: KeyPath, places: set[KeyPath]) -> bool:
    return any(path[: len(place)] == place for place in places)
