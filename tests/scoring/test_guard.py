"""Rows that are not such as the model knows are told, by field, and refused past a limit; rows that are, never."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from heard import Heard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import jensenshannon
from scipy.stats import binomtest, norm

import widedeep as wd
from widedeep.errors import ArtefactError
from widedeep.pipeline.workspace import Workspace
from widedeep.recipe.load import load_recipe
from widedeep.runs import RunDirectory
from widedeep.scoring.guard import Guard, GuardOptions
from widedeep.scoring.looks import compact_json
from widedeep.scoring.scorer import Scorer
from widedeep.scoring.tally import INDEX_BINS, Binned, Tally, index_bins, number_cells, rate_bounds, shift_of
from widedeep.table.parts import coded_blocks

CommandLine = Callable[..., tuple[int, str, str]]
OLD_RUN, OLD_ROWS = (Path(__file__).with_name(name) for name in ("run-format-1", "run-format-1-scores.csv"))


@pytest.fixture(scope="module")
def run(trained: Path) -> Path:
    return (trained / "runs" / "small" / "latest").resolve()


@pytest.fixture(scope="module")
def rows(trained: Path) -> pl.DataFrame:
    return pl.read_csv(trained / "new.csv")


def written(rows: pl.DataFrame, path: Path) -> Path:
    rows.write_csv(path)
    return path


def drifted(rows: pl.DataFrame) -> pl.DataFrame:
    """The case that nobody noticed: one field all unseen, one all missing."""
    return rows.with_columns(shape=pl.lit("hexagonal"), color=pl.lit(""))


# ----------------------------------------------------------------------------------------------------- the reference


@pytest.mark.parametrize("name", ["small", "rich"])
def test_a_run_keeps_of_its_splits_what_scoring_them_would_count(name: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue({"small": "trained", "rich": "rich"}[name])
    path = (folder / "runs" / name / "latest").resolve()
    scorer, reference = Scorer.load(path), json.loads(RunDirectory(path).reference_path.read_text())
    ingested = Workspace(folder).stage_path("ingest", RunDirectory(path).manifest()["keys"]["ingest"])
    for split in ("train", "valid"):
        tally = Tally(scorer.plan)
        for block in coded_blocks(ingested, split):
            typed = block.decoded()
            scores, encoded = scorer.score(typed)
            tally.add_part(tally.count(scorer.plan, typed, encoded), scores)
        counted = tally.to_json()

        assert reference[split]["fields"] == counted["fields"]
        if split == "valid":
            assert reference[split]["scores"]["mean"] == pytest.approx(counted["scores"]["mean"], abs=1e-6)
            assert reference[split]["scores"]["rows"] == counted["scores"]["rows"]


def test_a_reference_is_pinned(run: Path, tmp_path: Path, widedeep: CommandLine, trained: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = RunDirectory(copy).reference_path
    path.write_text(path.read_text().replace('"missing":0', '"missing":1', 1))

    code, out, err = widedeep("predict", copy, trained / "new.csv", "-o", "-")

    assert (code, out) == (4, "")
    assert f"{path}: it has changed since the run was finished" in err


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"format":1', '"format":2'),
        ('"train"', '"trained"'),
        ('"bins":[', '"bins":[70000,'),
        ('"missing":0', '"missing":-1'),
        ('"rows":', '"rows":-'),
        ('"color"', '"colour"'),
        ('"expected_unseen":{', '"expected_unseen":{"x":"much",'),
    ],
)
def test_a_damaged_reference_whose_digest_fits_is_told(
    before: str, after: str, run: Path, trained: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    path = RunDirectory(copy).reference_path
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    RunDirectory(copy).pin()

    with pytest.raises(ArtefactError, match=r"reference\.json"):
        Guard(Scorer.load(copy), copy, GuardOptions())


@given(st.dictionaries(st.text('a"\\{},:', max_size=8), st.dictionaries(st.text('}",'), st.integers()), max_size=3))
def test_files_of_counts_are_json_whatever_fields_are_called(fields: dict[str, dict[str, int]]) -> None:
    content = {"fields": {name: {"binned": counts} for name, counts in fields.items()}}

    assert json.loads(compact_json(content)) == content
    assert compact_json({"fields": {"a": {"b": {}}, "c": {"b": {}}}}).count("\n") == 2


# ------------------------------------------------------------------------------------------------ figures and oracles


@given(
    st.lists(st.integers(0, 50), min_size=INDEX_BINS, max_size=INDEX_BINS),
    st.lists(st.integers(0, 50), min_size=INDEX_BINS, max_size=INDEX_BINS),
)
def test_a_shift_is_the_jensen_shannon_divergence_less_what_chance_adds(before: list[int], after: list[int]) -> None:
    before[3] += 1
    after[5] += 1
    counts = [np.array(values, dtype=np.int64) for values in (before, after)]
    many = [Binned(values, 10**12) for values in counts]
    few = [Binned(values, 10) for values in counts]

    expected = jensenshannon(*counts, base=2) ** 2

    assert shift_of(*many).value == pytest.approx(expected, abs=1e-9)
    assert shift_of(*many).low == pytest.approx(expected, abs=1e-4)
    assert shift_of(*few).value <= expected + 1e-9
    assert shift_of(*few).low < shift_of(*many).low


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_bounds_of_a_rate_are_wilsons(rows: int, share: float) -> None:
    number = round(share * rows)
    interval = binomtest(number, rows).proportion_ci(1 - 2 * norm.sf(4.0), method="wilson")

    assert rate_bounds(number, rows) == pytest.approx((interval.low, interval.high), abs=1e-9)


@given(arrays.arrays(np.float32, 40, elements=st.floats(width=32, allow_nan=False)))
def test_cells_of_numbers_ascend_with_them(numbers: np.ndarray) -> None:
    cells = [int(number_cells(number[None]).argmax()) for number in np.sort(numbers + np.float32(0.0))]

    assert cells == sorted(cells)
    assert number_cells(numbers).sum() == len(numbers)


@given(arrays.arrays(np.int32, st.integers(0, 40), elements=st.integers(0, 2**31 - 1)))
def test_every_index_has_one_bin_and_the_first_have_their_own(indices: np.ndarray) -> None:
    counts = index_bins(indices)

    assert (counts.sum(), len(counts)) == (len(indices), INDEX_BINS)
    assert counts[:34].tolist() == np.bincount(indices[indices < 34], minlength=34).tolist()


def test_a_shift_to_a_single_value_is_certain() -> None:
    draw = np.random.default_rng(3)
    for _ in range(200):
        before, after = draw.integers(0, 1000, INDEX_BINS), np.zeros(INDEX_BINS, dtype=np.int64)
        after[int(draw.integers(INDEX_BINS))] = 1
        assert 0.0 <= shift_of(Binned(before, 10**9), Binned(after, 10**9)).value <= 1.0


def test_equal_distributions_are_never_shifted_by_chance() -> None:
    draw = np.random.default_rng(7)
    shares = draw.dirichlet(np.full(INDEX_BINS, 0.3))
    for rows in (10, 100, 1000, 10_000):
        for _ in range(200):
            pair = [Binned(draw.multinomial(size, shares).astype(np.int64), size) for size in (5000, rows)]
            assert shift_of(*pair).low <= 0.0


# ------------------------------------------------------------------------------------------------- what is told of rows


def test_rows_such_as_the_model_knows_are_scored_without_a_word(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    code, _, err = widedeep("predict", run, written(rows, tmp_path / "rows.csv"), "-o", tmp_path / "scores.csv")

    assert (code, err) == (0, "")


def test_rows_that_come_in_turns_are_not_taken_for_a_shift(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    many = rows.sample(36_000, with_replacement=True, seed=1)
    colors = pl.Series(["red", "green", "blue", ""]).gather(np.arange(len(many)) % 4)
    many.with_columns(color=colors).write_parquet(tmp_path / "many.parquet")

    assert widedeep("predict", run, tmp_path / "many.parquet", "-o", tmp_path / "s.csv", "--quiet") == (0, "", "")


def test_rows_at_the_end_of_a_long_table_count_no_more_than_others(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    many = rows.sample(36_000, with_replacement=True, seed=1).sort("shape")
    many.write_parquet(tmp_path / "many.parquet")

    widedeep("predict", run, tmp_path / "many.parquet", "-o", tmp_path / "s.csv", "--report", tmp_path / "r.json")
    counted = json.loads((tmp_path / "r.json").read_text())["fields"]["shape"]["binned"]["counts"]

    shares = many["shape"].value_counts()["count"] / len(many)
    assert np.sort(counted) / sum(counted) == pytest.approx(np.sort(shares), abs=0.002)


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(1, 16)), min_size=1, max_size=8))
def test_rows_that_stand_for_others_tell_as_much_as_kish_says(parts: list[tuple[int, int]]) -> None:
    binned = Binned(np.zeros(1, dtype=np.int64))
    for rows, step in parts:
        binned.add(np.array([rows]), rows, step)
    weights = np.concatenate([np.full(rows, step) for rows, step in parts])

    assert binned.counts.sum() == weights.sum()
    assert binned.rows == int(weights.sum()) ** 2 // int((weights**2).sum())


@pytest.mark.parametrize("ending", ["csv", "ndjson", "parquet"])
def test_rows_past_a_limit_are_refused_in_one_line_and_nothing_is_written(
    ending: str, run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source, target = written(drifted(rows), tmp_path / "rows.csv"), tmp_path / f"scores.{ending}"
    target.write_text("yesterday's")

    code, out, err = widedeep("predict", run, source, "-o", target, "--limit", "shift=none")
    assert code == 2  # the output exists
    target.unlink()
    code, out, err = widedeep("predict", run, source, "-o", target)

    assert (code, out, err.count("\n")) == (7, "", 1)
    assert "shape 100.0% unseen (usual: 0.0%)" in err
    assert "color 100.0% missing" in err
    assert "nothing was written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_force_scores_rows_past_a_limit_and_warns(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source, target = written(drifted(rows), tmp_path / "rows.csv"), tmp_path / "scores.csv"

    code, out, err = widedeep("predict", run, source, "-o", target, "--force", "--json")

    assert code == 0
    assert "widedeep: warning: the rows are not such as the model was trained on: shape 100.0% unseen" in err
    assert pl.read_csv(target).height == rows.height
    told = json.loads(out)["limits"]
    assert {breach["field"] for breach in told if breach["refused"]} == {"shape", "color"}


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_stream_keeps_what_was_sent_and_the_exit_code_says_so(
    ending: str, run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source = written(drifted(rows), tmp_path / "rows.csv")

    code, out, err = widedeep("predict", run, source, "-o", "-", *(["--output-format", ending]), "--keep", "id")

    assert code == 7
    assert out.count("\n") == (rows.height + 1 if ending == "csv" else 0)
    assert ("300 scores were sent already" if ending == "csv" else "nothing was written") in err


def test_ten_rows_are_never_refused(run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine) -> None:
    source = written(drifted(rows).head(10), tmp_path / "rows.csv")

    code, _, err = widedeep("predict", run, source, "-o", tmp_path / "scores.csv")

    assert code == 0
    assert "shape 100.0% unseen" in err  # but told, as that is no chance


def test_a_limit_of_a_field_goes_before_that_of_all(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source = written(rows.with_columns(shape=pl.lit("hexagonal")), tmp_path / "rows.csv")

    def code(*options: str) -> tuple[int, bool]:
        code, _, err = widedeep("predict", run, source, "-o", tmp_path / "scores.csv", *options)
        (tmp_path / "scores.csv").unlink(missing_ok=True)
        return code, "shape 100.0% unseen" in err

    assert code() == (7, True)
    assert code("--limit", "shape.unseen=1") == (0, True)
    assert code("--limit", "unseen=none") == (0, True)
    assert code("--limit", "unseen=none", "--limit", "shape.unseen=0.3") == (7, True)
    assert code("--limit", "shape.unseen=none", "--warn", "shape.unseen=none") == (0, False)
    assert code("--limit", "unseen=none", "--limit", "shape.shift=0.4") == (7, False)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("shpae.unseen=0.2", "there is no field 'shpae'; did you mean 'shape'?"),
        ("price.unseen=0.2", "no value of a number is unseen: limit price.shift"),
        ("shape.unsene=0.2", "must be a measure (missing, unseen, shift, score)"),
        ("shape.unseen=1.5", "with a share from 0 to 1 or none"),
        ("shape.unseen=nan", "with a share from 0 to 1 or none"),
        ("shape.unseen", "must be FIELD.MEASURE=SHARE"),
        ("=0.5", "must be FIELD.MEASURE=SHARE"),
    ],
)
@pytest.mark.parametrize("name", ["--limit", "--warn"])
def test_a_limit_that_can_be_none_is_refused(
    name: str, option: str, told: str, run: Path, trained: Path, widedeep: CommandLine
) -> None:
    code, out, err = widedeep("predict", run, trained / "new.csv", "-o", "-", name, option)

    assert (code, out) == (2, "")
    assert name in err
    assert told in err


def test_limits_in_a_recipe_name_its_fields(project: Path, widedeep: CommandLine) -> None:
    recipe = (project / "small.yaml").read_text()
    (project / "good.yaml").write_text(recipe + "scoring: {limits: {refuse: {shape.unseen: 0.9, score: 0.4}}}\n")
    (project / "bad.yaml").write_text(
        recipe + "scoring: {limits: {warn: {shap.unseen: 0.9, sum: 0.1, shape.shift: 2}}}"
    )
    limits = load_recipe(project / "good.yaml").recipe.scoring.limits

    code, _, err = widedeep("ingest", project / "bad.yaml")

    assert limits.refuse == {"missing": 0.5, "unseen": 0.5, "shift": None, "score": 0.4, "shape.unseen": 0.9}
    assert limits.warn["missing"] == 0.05
    assert code == 2
    assert "shape.shift" in err


def test_a_field_made_of_a_date_is_not_told_for_covering_one_day(
    rich: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    one_hour = pl.read_csv(rich / "log.csv").with_columns(seen=pl.lit("2024-01-03 05:00:00"))
    source = written(one_hour, tmp_path / "rows.csv")
    line = ("predict", rich / "runs/rich/latest", source, "-o", "-", "--table", f"users={rich / 'users.csv'}")

    _, _, err = widedeep(*line)
    _, _, err_of_limit = widedeep(*line, "--warn", "seen.hour.shift=0.1")

    assert "seen" not in err
    assert "seen.hour shifted by" in err_of_limit


def test_from_python_rows_past_a_limit_are_told_and_scored(run: Path, rows: pl.DataFrame) -> None:
    heard = Heard()
    scored = wd.open_run(run).predict(drifted(rows), reporter=heard)

    assert scored.height == rows.height
    (warning,) = heard.warnings
    assert "shape 100.0% unseen" in warning


# ----------------------------------------------------------------------------------------------------------- reports


def test_a_report_says_what_the_rows_looked_like(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source, target = written(drifted(rows), tmp_path / "rows.csv"), tmp_path / "scores.csv"

    code, _, _ = widedeep("predict", run, source, "-o", target, "--report", tmp_path / "report.json")
    refused = json.loads((tmp_path / "report.json").read_text())
    assert widedeep("predict", run, source, "-o", target, "--force", "--report", tmp_path / "report.json")[0] == 0
    report = json.loads((tmp_path / "report.json").read_text())

    assert (code, refused["refused"], report["refused"]) == (7, True, False)
    assert report["rows"] == 300
    assert report["fields"]["shape"]["unseen"] == 300
    assert report["fields"]["shape"]["shift"] > 0.9
    assert report["fields"]["color"]["usual"]["missing"] == pytest.approx(0.25, abs=0.1)
    assert report["scores"]["mean"] == pytest.approx(pl.read_csv(target)["score"].mean(), abs=1e-6)
    assert report["scores"]["usual"].keys() == {"rows", "mean", "deviation"}


def test_yesterdays_rows_are_told_and_so_is_what_changed_since(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source, report = written(rows, tmp_path / "rows.csv"), tmp_path / "report.json"
    changed = written(rows.with_columns(price=pl.col("price") * 100), tmp_path / "changed.csv")
    others = written(rows.reverse(), tmp_path / "others.csv")

    assert "warning" not in widedeep("predict", run, source, "-o", "-", "--report", report)[2]
    again = widedeep("predict", run, source, "-o", "-", "--against", report)
    since = widedeep("predict", run, changed, "-o", "-", "--against", report)
    other = widedeep("predict", run, others, "-o", "-", "--against", report)

    assert f"all 300 scores are those of {report}: the same rows again" in again[2]
    assert f"the rows differ from those of {report}: price shifted by" in since[2]
    assert "report.json" not in other[2]
    assert (again[0], since[0], other[0]) == (0, 0, 0)


@pytest.mark.parametrize("content", ["", "{}", '{"format": 9}', '{"format": 1, "plan": ""}', "[" * 10_000])
def test_what_is_no_report_is_told(
    content: str, run: Path, trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    (tmp_path / "report.json").write_text(content)

    code, out, err = widedeep("predict", run, trained / "new.csv", "-o", "-", "--against", tmp_path / "report.json")

    assert (code, out) == (4, "")
    assert "report.json" in err


def test_a_report_never_replaces_what_is_read_or_written(
    run: Path, rows: pl.DataFrame, tmp_path: Path, widedeep: CommandLine
) -> None:
    source, target = written(rows, tmp_path / "rows.csv"), tmp_path / "scores.csv"
    target.write_text("yesterday's")

    for report in (source, target):
        assert widedeep("predict", run, source, "-o", target, "--force", "--report", report)[0] == 2
    assert widedeep("predict", run, source, "-o", tmp_path / "new.csv", "--report", tmp_path / "new.csv")[0] == 2

    assert target.read_text() == "yesterday's"
    assert source.read_text() == rows.write_csv()


def test_a_run_of_an_older_version_scores_and_says_that_it_cannot_judge(tmp_path: Path, widedeep: CommandLine) -> None:
    table = pl.read_csv(OLD_ROWS)
    silent = widedeep("predict", OLD_RUN, OLD_ROWS, "-o", tmp_path / "scores.csv")
    told = widedeep("predict", OLD_RUN, OLD_ROWS, "-o", "-", "--report", tmp_path / "report.json")
    refused = widedeep("predict", OLD_RUN, OLD_ROWS, "-o", "-", "--limit", "unseen=0.5")

    assert (silent[0], silent[2]) == (0, "")
    assert "it has no reference, and nothing was judged" in told[2]
    assert json.loads((tmp_path / "report.json").read_text())["rows"] == table.height
    assert refused[0] == 2
    assert "keeps no reference" in refused[2]
