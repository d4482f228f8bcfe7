"""`widedeep crosses RECIPE --discover`: finds crosses, shows what they promise, adds them to a recipe."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from widedeep.api.recipes import bundled_recipes, with_schema_line
from widedeep.api.runs import run_path
from widedeep.errors import UsageError
from widedeep.figures import duration, gain_cell
from widedeep.files import check_output, write_text
from widedeep.runs import RunDirectory

from .. import without_collecting
from ..recipe_argument import open_recipe, refuse_data_file
from ..results import print_facts, print_json

if TYPE_CHECKING:
    from widedeep.discovery.discover import Discovery
    from widedeep.discovery.proof import ProvedCross
    from widedeep.recipe.load import LoadedRecipe

SHOWN_REFUSED, LEAST_SHOWN_Q = 3, 1e-9


def discover(
    recipe: str,
    work: Path,
    overrides: Sequence[str] | None,
    *,
    on: str | None,
    budget: float | None,
    fdr: float | None,
    write: Path | None,
    force: bool,
    trust: bool,
    workers: str | None,
    wait: bool,
    as_json: bool,
) -> None:
    """Discover crosses of the recipe's fields and show them."""
    from ..console import ConsoleReporter, print_discovery  # not at the top: `--help` should not wait for Rich

    reporter = ConsoleReporter()
    if write is not None:
        check_output(write, force=force)
    if write is not None and overrides:
        raise UsageError(f"--write keeps the recipe's text, which --set {overrides[0]} is no part of: leave one out")
    loaded = open_recipe(recipe, overrides, reporter)
    if write is not None:
        refuse_data_file(write, loaded)
        _refuse_other_folder(write, loaded)
        _refuse_unwritable(loaded)
    run = None if on is None else RunDirectory(run_path(on, work), trust)
    with without_collecting():
        from widedeep.pipeline.discovery import DEFAULT_FDR, discover_crosses

    fdr = DEFAULT_FDR if fdr is None else fdr
    discovery = discover_crosses(loaded, work, reporter, on=run, budget=budget, fdr=fdr, wait=wait, workers=workers)
    if write is not None and not discovery.crosses and not force:
        reporter.note(f"{write}: not written, as no cross was found; with --force the recipe is written as it is")
        write = None
    written = None if write is None else _write(write, loaded, discovery)
    if as_json:
        print_json(_as_object(discovery, loaded, write))
        return
    print_discovery([_cells(cross) for cross in discovery.kept], loss=discovery.loss_name)
    print_facts(_facts(discovery, written))


def _refuse_other_folder(write: Path, loaded: "LoadedRecipe") -> None:
    """Raise UsageError if the new recipe would lie in another folder, from where its relative paths would be wrong."""
    if write.parent.resolve() == loaded.base_dir.resolve():
        return
    for path in loaded.recipe.data.all_paths():
        if "://" not in path and not Path(path).is_absolute():
            raise UsageError(
                f"--write {write}: the recipe's '{path}' starts from the folder {loaded.base_dir}: write the new "
                f"recipe there, {loaded.base_dir / write.name}"
            )


def _as_object(discovery: "Discovery", loaded: "LoadedRecipe", write: Path | None) -> dict[str, Any]:
    return {
        "crosses": [_cross(cross, loaded) for cross in discovery.kept],
        "refused": [_cross(cross, loaded) for cross in discovery.refused],
        "loss": discovery.loss_name,
        "loss_gain": discovery.loss.interval,
        "auc_gain": None if discovery.auc is None else discovery.auc.interval,
        "complete": discovery.complete,
        "stopped_in": discovery.stopped_in or None,
        "screened": {"pairs": discovery.pairs, "triples": discovery.triples},
        "rows": {"train": discovery.train_rows, "choice": discovery.choice_rows, "proof": discovery.proof_rows},
        "proof_by_time": discovery.by_time,
        "seconds": round(discovery.seconds, 3),
        "written": write,
    }


def _cross(cross: "ProvedCross", loaded: "LoadedRecipe") -> dict[str, Any]:
    from widedeep.discovery.discover import settings_of, suggested_buckets

    settings = settings_of(cross, loaded.recipe)
    return {
        "columns": list(cross.score.candidate.fields),
        "granularity": settings.granularity,
        "distinct": cross.distinct,
        "support": cross.support,
        "loss_gain": cross.loss.interval,
        "auc_gain": None if cross.auc is None else cross.auc.interval,
        "q": cross.q,
        "suggested_buckets": suggested_buckets(cross.distinct),
        "min_count": settings.min_count,
    }


def _cells(cross: "ProvedCross") -> dict[str, str]:
    from widedeep.discovery.discover import suggested_buckets

    members = (name if cut is None else f"{name}/{cut}" for name, cut in cross.score.candidate.named)
    return {
        "cross": " x ".join(members),
        "distinct": f"{cross.distinct:,}",
        "support": f"{cross.support:.0%}",
        "gain": gain_cell(cross.loss.value, cross.loss.low),
        "AUC": "" if cross.auc is None else gain_cell(cross.auc.value, cross.auc.low),
        "q": f"{cross.q:.1g}" if cross.q >= LEAST_SHOWN_Q else f"<{LEAST_SHOWN_Q:.0e}",
        "buckets": f"2^{suggested_buckets(cross.distinct).bit_length() - 1}",
    }


def _facts(discovery: "Discovery", written: str | None) -> dict[str, str]:
    part = "later" if discovery.by_time else "other"
    facts = {}
    if discovery.kept:
        facts["all of them"] = f"{gain_cell(discovery.loss.value, discovery.loss.low)} in {discovery.loss_name}" + (
            "" if discovery.auc is None else f", {gain_cell(discovery.auc.value, discovery.auc.low)} in AUC"
        )
    else:
        facts["found"] = "no cross that holds at this false discovery rate"
    facts["chosen on"] = f"{discovery.choice_rows:,} of {discovery.train_rows:,} train rows"
    facts["proved on"] = f"{discovery.proof_rows:,} {part} train rows"
    facts["screened"] = f"{discovery.pairs:,} pairs, {discovery.triples:,} triples in {duration(discovery.seconds)}"
    if discovery.refused:
        names = [" x ".join(cross.score.candidate.fields) for cross in discovery.refused]
        more = [f"and {len(names) - SHOWN_REFUSED} more"] if len(names) > SHOWN_REFUSED else []
        facts["not proved"] = "; ".join([*names[:SHOWN_REFUSED], *more])
    if not discovery.complete:
        facts["partial"] = f"the budget ended {discovery.stopped_in}"
    if written is not None:
        facts["written"] = written
    return facts


def _refuse_unwritable(loaded: "LoadedRecipe") -> None:
    """Raise RecipeError now, before the work, if crosses could not be added to the recipe's text."""
    from widedeep.recipe.add_crosses import add_crosses
    from widedeep.recipe.schema import CrossSettings

    assert loaded.path is not None
    # A trial with a cross of names that no recipe has, which is why they are not validated.
    trial = CrossSettings.model_construct(fields=("\0", "\0\0"))
    add_crosses(_text(loaded.path), [trial], source=str(loaded.path))


def _text(path: Path) -> str:
    return path.read_bytes().decode()


def _write(path: Path, loaded: "LoadedRecipe", discovery: "Discovery") -> str:
    """Write the recipe's text with the crosses added; returns a text that says so."""
    from widedeep.recipe.add_crosses import add_crosses
    from widedeep.recipe.load import load_recipe

    assert loaded.path is not None
    text = add_crosses(_text(loaded.path), discovery.crosses, source=str(loaded.path))
    if loaded.path in bundled_recipes().values():
        text = with_schema_line(text)
    write_text(Path(os.path.realpath(path)), text)
    load_recipe(path, base_dir=loaded.base_dir)
    return f"{path} ({len(discovery.crosses)} crosses added)"
