"""What the scores of a run depend on is pinned: a change is told, by every command, and never scored with."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from widedeep.errors import ArtefactError
from widedeep.runs import RunDirectory
from widedeep.scoring.scorer import Scorer
from widedeep.table.typed import Typing

CommandLine = Callable[..., tuple[int, str, str]]
OLD_RUN, OLD_ROWS = (Path(__file__).with_name(name) for name in ("run-format-1", "run-format-1-scores.csv"))

READING = {
    "separator of lists": ("separator: '|'", "separator: ';'"),
    "separator of weights": ("weight_separator: ':'", "weight_separator: '='"),
    "most values": ("max_length: 3", "max_length: 1"),
    "missing texts": ("missing: ['', n/a]", "missing: ['', none]"),
    "start of ages": ("since: {column: born, format: null}", "since: {column: seen, format: null}"),
    "column to join on": ("'on': member", "'on': price"),
    "no golden rows": ("golden_rows: 8", "golden_rows: 0"),
}


def changed(run: Path, before: str, after: str) -> None:
    text = (run / "recipe.yaml").read_text()
    assert before in text, text
    (run / "recipe.yaml").write_text(text.replace(before, after))


@pytest.mark.parametrize("setting", READING)
def test_a_runs_own_recipe_may_not_change(setting: str, rich: Path, rich_run: Path, widedeep: CommandLine) -> None:
    changed(rich_run, *READING[setting])

    code, out, err = widedeep("predict", rich_run, rich / "log.csv", "-o", "-")

    assert (code, out) == (4, "")
    assert f"{rich_run / 'recipe.yaml'}: it has changed since the run was finished" in err


@pytest.mark.parametrize("setting", ["separator of lists", "separator of weights", "most values", "start of ages"])
def test_golden_rows_as_they_were_read_show_that_they_are_read_in_another_way(
    setting: str, rich_run: Path, widedeep: CommandLine
) -> None:
    changed(rich_run, *READING[setting])
    RunDirectory(rich_run).pin()  # as if another version of a library, or of widedeep, read otherwise

    with pytest.raises(ArtefactError, match=r"golden.parquet: row 1, column '[^']+', was read as .* and is read as "):
        Scorer.load(rich_run)


def test_golden_rows_are_checked_even_if_the_recipe_asks_for_none(rich_run: Path) -> None:
    changed(rich_run, *READING["no golden rows"])
    golden = pl.read_parquet(rich_run / "golden.parquet")
    golden.with_columns(pl.col("score") + 0.1).write_parquet(rich_run / "golden.parquet")
    RunDirectory(rich_run).pin()

    with pytest.raises(ArtefactError, match=r"golden.parquet: row . scored"):
        Scorer.load(rich_run)


def test_golden_rows_are_read_as_the_files_rows_are(rich: Path, rich_run: Path) -> None:
    golden = pl.read_parquet(rich_run / "golden.parquet")
    raw = golden["raw"].struct.unnest()

    assert golden.height == 8
    assert raw["tags"].to_list() == pl.read_csv(rich / "log.csv")["tags"].head(8).to_list()
    assert raw["users.age"].to_list() == [str(20 + user) for user in range(8)]
    assert raw["price"][4] is None
    assert "click" not in raw.columns


@pytest.mark.parametrize(
    "name",
    [
        "recipe.yaml",
        "golden.parquet",
        "checkpoints/best.safetensors",
        *(f"plan/{name}" for name in ("plan.json", "forms.json", "source_kinds.json", "memory.safetensors")),
    ],
)
def test_every_file_that_scores_depend_on_is_pinned(name: str, rich_run: Path) -> None:
    path = rich_run / name
    content = path.read_bytes()
    path.write_bytes(content + b" ")
    with pytest.raises(ArtefactError, match=f"{name}: it has changed since the run was finished"):
        Scorer.load(rich_run)
    path.unlink()
    with pytest.raises(ArtefactError, match=f"{name}: the file is missing"):
        Scorer.load(rich_run)


@pytest.mark.parametrize("entry", ["base_dir", "format", "seed"])
def test_the_manifest_pins_itself(entry: str, rich_run: Path) -> None:
    manifest = json.loads((rich_run / "manifest.json").read_text())
    changes = {"base_dir": "/elsewhere", "format": 1, "seed": 7}
    (rich_run / "manifest.json").write_text(json.dumps({**manifest, entry: changes[entry]}))

    with pytest.raises(ArtefactError, match=r"manifest.json: it has changed since the run was finished"):
        Scorer.load(rich_run)


def test_a_run_that_lost_its_pins_is_damaged(rich_run: Path) -> None:
    manifest = json.loads((rich_run / "manifest.json").read_text())
    del manifest["pins"]
    (rich_run / "manifest.json").write_text(json.dumps(manifest))

    with pytest.raises(ArtefactError, match=r"manifest.json: it lacks `pins`"):
        Scorer.load(rich_run)


def test_figures_are_pinned_too(rich_run: Path, widedeep: CommandLine) -> None:
    facts = json.loads((rich_run / "metrics.json").read_text())
    facts["metrics"]["test"]["auc"] = 0.99
    (rich_run / "metrics.json").write_text(json.dumps(facts))

    code, out, err = widedeep("compare", rich_run)

    assert (code, out) == (4, "")
    assert "metrics.json: it has changed since the run was finished" in err


def test_a_run_of_an_older_version_scores_as_it_did_and_nothing_is_said_of_pins(
    tmp_path: Path, widedeep: CommandLine
) -> None:
    run = shutil.copytree(OLD_RUN, tmp_path / "run")

    code, out, err = widedeep("predict", run, OLD_ROWS, "-o", "-")

    assert code == 0, err
    scores = [float(line) for line in out.splitlines()[1:]]
    assert np.allclose(scores, pl.read_csv(OLD_ROWS)["score"].to_numpy(), atol=1e-6)
    assert "pin" not in err


def test_a_feature_may_be_called_as_golden_rows_call_their_columns(project: Path, widedeep: CommandLine) -> None:
    log = pl.read_csv("log.csv").rename({"price": "score", "age": "raw", "color": "typed"})
    log.write_csv("log.csv")
    recipe = (project / "small.yaml").read_text().replace("epochs: 2", "epochs: 1")
    for before, after in {"price": "score", "age": "raw", "color": "typed"}.items():
        recipe = recipe.replace(before, after)
    (project / "small.yaml").write_text(recipe)

    assert widedeep("train", "small.yaml")[0] == 0
    code, out, err = widedeep("predict", "small.yaml", "log.csv", "-o", "-")

    assert (code, len(out.splitlines())) == (0, 2001), err


def test_a_library_that_types_rows_otherwise_is_told(rich_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apply = Typing.apply
    monkeypatch.setattr(Typing, "apply", lambda typing, block: apply(typing, block).with_columns(color=pl.lit("blue")))

    with pytest.raises(ArtefactError, match=r"row 1, column 'color', was read as .* now: the recipe or a library"):
        Scorer.load(rich_run)
