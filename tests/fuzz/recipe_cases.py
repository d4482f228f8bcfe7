"""Recipes made of valid ones by changes: of keys, values and sections, or of the bytes of the text."""

import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import base
import yaml
from cases import Case, Find, farthest, scores
from changes import EXTREMES, at, near, places

_TOKENS = (
    *("&a ", "*a", "<<: ", "!!python/none ", "!!binary ", "!x ", "? ", "- ", ": ", "---\n", "...\n", "%YAML 1.2\n"),
    *("\t", "\0", "\ufeff", "\r", "\u2028", "#", "|\n", ">\n", "'", '"', "{", "}", "[", "]", ",", "\n", "\n\n", "  "),
    *("${X:-", "}", "$${", "1e999", "0x1f", "010", "=", "@", "`", "\ud7ff", "𝕏"),
)
_NUMBER = re.compile(r"\d[\d.]*(?:[eE]\+?\d+)?")
_MUCH = 1000
"""A new number from here on may be a wish for much work or memory: epochs, widths, buckets, threads."""


def run(case: Case) -> None:
    """Change a recipe, give it to a command; a run that comes of it scores CSV and Parquet alike."""
    case.take("log.csv", "log.parquet", "people.csv")
    text = _source(case)
    overrides: list[str] = []
    if case.draw.random() < 0.25:
        changed = _changed_text(case, text)
    else:
        recipe = yaml.safe_load(text)
        if case.draw.random() < 0.15:
            overrides = ["--set", _override(case, recipe)]
        else:
            for _ in range(case.draw.choice([1, 1, 1, 2, 3])):
                recipe = _changed(case, recipe)
        changed = _dumped(recipe)
    (case.folder / "r.yaml").write_bytes(changed.encode("utf-8", "surrogatepass"))
    case.wants_much = bool(_large_numbers(changed + "".join(overrides)) - _large_numbers(text))
    case.say(changed + "".join(overrides))
    command = case.draw.choice(["train"] * 6 + ["ingest", "crosses"])
    ended = case.widedeep(command, "r.yaml", "--work", "w", *overrides)
    runs = [path for path in case.folder.glob("w/runs/*/*/DONE") if not path.parent.is_symlink()]
    if command != "train" or ended.code != 0 or not runs:
        return
    # Where an empty text is a value, a CSV file cannot say what is missing in the Parquet file.
    resolved = yaml.safe_load((runs[0].parent / "recipe.yaml").read_text())
    if "" not in resolved["data"]["format"]["missing"]:
        return
    given = []
    for name in ("log.csv", "log.parquet"):
        predicted = case.widedeep("predict", runs[0].parent, name, "-o", f"{name}.scores.csv")
        if predicted.code == 0:
            given.append(scores((case.folder / f"{name}.scores.csv").read_text()))
    if len(given) == 2 and farthest(*given) > 1e-6:
        raise Find(f"CSV and Parquet differ by {farthest(*given):g}")


def _large_numbers(text: str) -> set[str]:
    return {number for number in _NUMBER.findall(text) if number.count(".") < 2 and float(number) >= _MUCH}


def _source(case: Case) -> str:
    """A valid recipe: a bundled one, a short one, or one with every setting written out."""
    if case.draw.random() < 0.15:
        bundled = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
        return case.draw.choice([path.read_text(encoding="utf-8") for path in bundled])
    text = case.draw.choice([base.SMALL, base.RICH, base.RICH, *base.FURTHER.values()])
    if case.draw.random() < 0.5:
        return text
    from widedeep.recipe.dump import dump_recipe
    from widedeep.recipe.load import parse_recipe

    return dump_recipe(parse_recipe(text, "r.yaml", Path(), "r").recipe)


def _changed(case: Case, recipe: Any) -> Any:
    draw, recipe = case.draw, copy.deepcopy(recipe)
    paths = list(places(recipe))
    path = draw.choice(paths)
    parent, key = at(recipe, path[:-1]), path[-1]
    ways = ["remove", "rename", "value", "value", "other", "copy", "add", "add", "wrap", "merge"]
    way = draw.choice(["near"] * 8 + ways)
    if way == "near":
        parent[key] = near(draw, parent[key], (*base.COLUMNS, *choices()))
    elif way == "remove":
        del parent[key]
    elif way == "rename" and isinstance(parent, dict):
        parent[draw.choice([*_settings(), str(key) + "s", str(key).upper()])] = parent.pop(key)
    elif way == "value":
        parent[key] = draw.choice(EXTREMES)
    elif way == "other":
        parent[key] = copy.deepcopy(at(recipe, draw.choice(paths)))
    elif way == "add" and isinstance(parent, dict):
        values = [*EXTREMES, *(at(recipe, place) for place in paths)]
        parent[draw.choice(_settings())] = copy.deepcopy(draw.choice(values))
    elif way == "wrap":
        parent[key] = draw.choice([[parent[key]], {str(key): parent[key]}, str(parent[key]), [parent[key]] * 2])
    elif way == "merge":
        mappings = [at(recipe, place) for place in paths if isinstance(at(recipe, place), dict)]
        draw.choice(mappings).update(copy.deepcopy(draw.choice(mappings)))
    elif isinstance(parent, list):
        parent.insert(draw.randint(0, len(parent)), copy.deepcopy(parent[key]))
    return recipe


def _override(case: Case, recipe: Any) -> str:
    path = case.draw.choice(list(places(recipe)))
    value = case.draw.choice([*map(json.dumps, EXTREMES), "{", "[a", "&a [*a]", "x: y", ""])
    return f"{'.'.join(map(str, path))}{case.draw.choice(['=', '=', '.', '=='])}{value}".replace("\0", "")


def _changed_text(case: Case, text: str) -> str:
    for _ in range(case.draw.choice([1, 1, 2, 4])):
        start = case.draw.randrange(len(text) + 1)
        end = min(len(text), start + case.draw.choice([0, 1, 1, 5, 40]))
        lines = text.splitlines(keepends=True)
        new = case.draw.choice(["", text[start:end] * 2, case.draw.choice(_TOKENS), case.draw.choice(lines or [""])])
        text = text[:start] + new + text[end:]
    return text


def _dumped(recipe: Any) -> str:
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=10_000)


@cache
def _settings() -> tuple[str, ...]:
    """The name of every setting of the schema."""
    from widedeep.recipe.schema import Recipe

    schema = Recipe.model_json_schema()
    return tuple(sorted({name for part in [schema, *schema["$defs"].values()] for name in part.get("properties", ())}))


@cache
def choices() -> tuple[str, ...]:
    """Every text that some setting of the schema may be."""
    from widedeep.recipe.schema import Recipe

    found = [Recipe.model_json_schema()]
    for value in found:
        found.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
    enums = [value["enum"] for value in found if isinstance(value, dict) and isinstance(value.get("enum"), list)]
    return tuple(sorted({text for enum in enums for text in enum if isinstance(text, str)}))
