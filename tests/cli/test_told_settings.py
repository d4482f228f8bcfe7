"""Settings that can only be wrong are refused; those that can do nothing are told."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., tuple[int, str, str]]


def changed(project: Path, old: str, new: str) -> Path:
    text = (project / "small.yaml").read_text()
    assert old in text
    (project / "small.yaml").write_text(text.replace(old, new))
    return project / "small.yaml"


@pytest.mark.parametrize(
    ("model", "place"),
    [
        ("{deep: {batch_norm: true}}", "model.deep.batch_norm"),
        ("{kind: dcn_v2, deep: {batch_norm: true}}", "model.deep.batch_norm"),
        ("{kind: finalmlp, finalmlp: {second: {batch_norm: true}}}", "model.finalmlp.second.batch_norm"),
        ("{kind: finalnet, finalnet: {second: {batch_norm: true}}}", "model.finalnet.second.batch_norm"),
    ],
)
def test_batches_of_one_row_cannot_be_normalised(widedeep: Run, project: Path, model: str, place: str) -> None:
    recipe = changed(project, "model:\n  deep: {hidden: [16, 8], dropout: 0.1}\n", f"model: {model}\n")

    code, out, err = widedeep("train", recipe, "--set", "training.batch_size=1")

    assert (code, out) == (2, "")
    assert f"training.batch_size: {place}" in err
    assert "take at least 2, is 1" in err


def test_a_kind_without_a_tower_trains_by_single_rows_whatever_the_tower_that_it_lacks_says(
    widedeep: Run, project: Path
) -> None:
    (project / "log.csv").write_text("".join((project / "log.csv").read_text().splitlines(keepends=True)[:200]))
    settings = ["training.batch_size=1", "training.epochs=1", "model.kind=wide", "model.deep.batch_norm=true"]

    code, _, err = widedeep("train", "small.yaml", *(part for one in settings for part in ("--set", one)))

    assert code == 0, err


@pytest.mark.parametrize("how", ["the same", "a link", "a glob", "a folder"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_train_file_is_no_file_of_another_split(widedeep: Run, project: Path, how: str, split: str) -> None:
    (project / "files").mkdir()
    os.link(project / "log.csv", project / "files" / "copy.csv")
    (project / "link.csv").symlink_to("log.csv")
    named = {"the same": "./log.csv", "a link": "link.csv", "a glob": "lo*.csv", "a folder": "files"}[how]

    code, _, err = widedeep("ingest", changed(project, "valid: 0.15, test: 0.15", "seed: 0"), "--set",
                            f"data.{split}={named}")  # fmt: skip

    assert code == 2
    assert f"data.{split}: " in err
    assert "is a file of data.train too" in err


@pytest.mark.parametrize("split", ["valid", "test"])
def test_a_copy_of_a_train_file_is_told(widedeep: Run, project: Path, split: str) -> None:
    content = (project / "log.csv").read_bytes()
    (project / "copy.csv").write_bytes(content)
    lines = content.splitlines(keepends=True)
    (project / "other.csv").write_bytes(b"".join([lines[0], *reversed(lines[1:])]))
    recipe = changed(project, "  split: {kind: random, valid: 0.15, test: 0.15}\n", "")

    code, _, err = widedeep("ingest", recipe, "--set", f"data.{split}=[other.csv, copy.csv]")

    assert code == 0, err
    warned = [line for line in err.replace(f"{project}/", "").splitlines() if "is a copy of" in line]
    assert len(warned) == 1, err
    assert f"warning: data.{split}: copy.csv is a copy of log.csv" in warned[0]


def test_valid_files_that_are_test_files_and_a_file_that_counts_twice_are_told(widedeep: Run, project: Path) -> None:
    for name in ("later.csv", "more.csv"):
        (project / name).write_text((project / "log.csv").read_text())
    (project / "link.csv").symlink_to("more.csv")
    recipe = changed(project, "  split: {kind: random, valid: 0.15, test: 0.15}\n",
                     "  valid: later.csv\n  test: [later.csv, more.csv, link.csv]\n")  # fmt: skip

    code, _, err = widedeep("ingest", recipe)

    assert code == 0
    assert "warning: data.test: later.csv is a file of data.valid too" in err.replace(f"{project}/", "")
    assert "warning: data.test: names a file twice" in err


@pytest.mark.parametrize(
    ("setting", "place"),
    [
        ("data.weight=click", "data.weight"),
        ("data.group=click", "data.group"),
        ("data.time=click", "data.time"),
        ("data.split={kind: key, key: click}", "data.split.key"),
        ("data.split={kind: column, column: click, valid: 1}", "data.split.column"),
        ("data.tables={users: {files: users.csv, key: click}}", "data.tables.users"),
        ("data.tables={users: {files: users.csv, key: id, on: click}}", "data.tables.users"),
    ],
)
def test_the_label_has_no_other_use(widedeep: Run, project: Path, setting: str, place: str) -> None:
    code, _, err = widedeep("train", "small.yaml", "--set", setting)

    assert code == 2
    assert f"{place}: the column 'click' is data.label" in err


@pytest.mark.parametrize("kind", ["numeric", "categorical", "multi_valued", "date_time"])
def test_the_label_is_no_field(widedeep: Run, project: Path, kind: str) -> None:
    code, _, err = widedeep("train", "small.yaml", "--set", f"features.{kind}=[click]", "--set", "crosses=[]")

    assert code == 2
    assert f"features.{kind}.0: the column 'click' is data.label" in err


def test_no_age_counts_from_the_label(widedeep: Run, project: Path) -> None:
    moment = "features.date_time=[{column: id, since: click}]"

    code, _, err = widedeep("train", "small.yaml", "--set", moment)

    assert code == 2
    assert "features.date_time.0.since: the column 'click' is data.label" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.warmup_steps=1000"], "training.warmup_steps: the warm-up takes 1,000 steps, and training has 22"),
        (["training.plateau.patience=1"], "training.plateau.patience: with 1 no rate can fall within 2 epochs"),
        (
            ["training.early_stopping.patience=2"],
            "training.early_stopping.patience: with 2 nothing can stop a training of 2 epochs early",
        ),
        (["training.batch_size=5000"], "training.batch_size: 5,000 rows a step, and there are 1,"),
    ],
)
def test_what_cannot_come_to_pass_in_a_training_is_told(
    widedeep: Run, project: Path, settings: list[str], message: str
) -> None:
    code, _, err = widedeep("train", "small.yaml", "--quiet", *(part for one in settings for part in ("--set", one)))

    assert code == 0, err
    assert f"widedeep: warning: {message}" in err


def test_a_last_batch_of_one_row_that_batch_norm_leaves_out_is_told(widedeep: Run, project: Path) -> None:
    code, out, _ = widedeep("ingest", "small.yaml", "--json")
    rows = json.loads(out)["rows"]["train"]
    settings = ["model.deep.batch_norm=true", f"training.batch_size={rows - 1}"]

    code, _, err = widedeep("train", "small.yaml", *(part for one in settings for part in ("--set", one)))

    assert code == 0, err
    assert f"batches of {rows - 1:,} leave a last one of a single row" in err


def test_settings_that_fit_are_not_spoken_of(widedeep: Run, project: Path) -> None:
    settings = ["training.warmup_steps=20", "training.epochs=3", "training.plateau.patience=0"]
    settings += ["training.early_stopping.patience=2"]

    code, _, err = widedeep("train", "small.yaml", "--quiet", *(part for one in settings for part in ("--set", one)))

    assert (code, "training." in err) == (0, False), err


def test_a_vocabulary_that_no_value_gets_into_is_told(widedeep: Run, project: Path) -> None:
    settings = ["features.categorical.0={column: color, min_count: 5000}", "crosses.0={fields: [color, shape], "
                "min_count: 6000}"]  # fmt: skip

    code, _, err = widedeep("crosses", "small.yaml", *(part for one in settings for part in ("--set", one)))

    assert code == 0, err
    assert "warning: color: no value stands in 5,000 train rows, its `min_count`" in err
    assert "warning: color x shape: no value stands in 6,000 train rows" in err
    assert "shape: no value" not in err.replace("color x shape", "")
