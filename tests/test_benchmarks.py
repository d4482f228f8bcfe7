"""The bench cannot rot: its rows run on tiny inputs, without peers. No time is asserted."""

import importlib
import json
from pathlib import Path
from typing import Any

import bench
import numpy as np
import polars as pl
import pytest
import rows
from click_log import CATEGORICAL, NUMERIC, WIDEDEEP, ClickLog, make_log, open_log, write_recipe
from figures import Failure, Figure, table
from scipy.special import expit

from widedeep.recipe.load import load_recipe
from widedeep.synth.criteo import Planting


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> ClickLog:
    return make_log(tmp_path_factory.mktemp("log"), 400, 100)


def test_a_drawn_log_is_taken_up_again_and_its_recipe_has_all_its_columns(log: ClickLog) -> None:
    changed = log.train.stat().st_mtime_ns
    assert make_log(log.train.parent, 400, 100) == open_log(log.train.parent) == log
    assert log.train.stat().st_mtime_ns == changed
    assert len(log.train.read_text().splitlines()) == 401
    assert len(log.test.read_text().splitlines()) == 101
    assert len(log.crosses) == 8
    recipe = load_recipe(write_recipe(log.train.parent / "log.yaml", log)).recipe
    assert [field.column for field in recipe.features.categorical] == CATEGORICAL
    assert [field.column for field in recipe.features.numeric] == NUMERIC


def test_training_rows_give_a_ratio_for_every_repetition(tmp_path: Path) -> None:
    from training_rows import (
        PRECISIONS,
        Size,
        against_the_mlp_alone,
        large_tables_against_small,
        memory_of_large_tables,
    )

    size = Size(steps=5, batch_size=64, hidden=(8,), runs=2)
    by_precision = against_the_mlp_alone(tmp_path / "against", size, table_rows=2_000, precisions=PRECISIONS)
    assert tuple(by_precision) == PRECISIONS
    for against in by_precision.values():
        for rates in (against.deep, against.wide_deep, against.by_gradient, against.alone):
            assert len(rates) == 2
            assert min(min(rate.wall, rate.cpu) for rate in rates) > 0
        assert "hidden: [8]" in against.recipe
    assert len(large_tables_against_small(tmp_path / "large", size, 2_000, 20_000)) == 2
    peak, held = memory_of_large_tables(tmp_path / "memory", size, large_rows=120_000)
    # 26 tables of 120,000 rows in all, 16 wide, with two moments each, float32 (sizes are rounded).
    assert held == pytest.approx(120_000 * 16 * 3 * 4, rel=0.01)
    assert peak > held


def test_the_profile_of_training_names_the_kernels_that_a_step_spends_time_in() -> None:
    from profile_training import profile
    from training_rows import Size

    stats = profile("wide", "gradient", Size(steps=3, batch_size=64), table_rows=2_000)
    functions = {name for _, _, name in stats.stats}  # type: ignore[attr-defined]
    assert {"ftrl", "gather_sum"} <= functions
    halved = profile("deep", "gradient", Size(steps=3, batch_size=64), table_rows=2_000, precision="bfloat16")
    assert "gather_halved" in {name for _, _, name in halved.stats}  # type: ignore[attr-defined]


def test_the_profile_of_a_stage_tells_what_the_main_thread_does_and_what_lies_idle(
    log: ClickLog, tmp_path: Path
) -> None:
    from ingest_rows import planted_recipe
    from profile_ingest import lines, profile_stage

    from widedeep.pipeline.stages import build_crosses
    from widedeep.reporting import Reporter

    loaded = planted_recipe(log.train, [])
    profile = profile_stage(lambda folder: build_crosses(loaded, folder, Reporter()), repeats=1)
    assert 0 < sum(sums["clock"] for sums in profile.by_place.values()) <= profile.clock * 1.01
    assert any("stages." in line for line in lines(profile, repeats=1))


def test_drawn_tables_have_the_rows_asked_for_and_frequent_indices_first(tmp_path: Path) -> None:
    from training_rows import draw_store

    store, layout = draw_store(tmp_path / "store", 50_000, 1_000)
    sizes = {column.name: column.size for column in layout.index_columns}
    assert sum(size for name, size in sizes.items() if name in CATEGORICAL) == pytest.approx(50_000, rel=0.01)
    for name, indices in store.read(0, store.rows, list(sizes)).items():
        assert 0 <= indices.min() <= indices.max() < sizes[name]
        assert (indices < sizes[name] / 2).mean() > 0.5


def test_the_wide_pass_learns_and_the_peers_text_holds_the_same_rows(log: ClickLog, tmp_path: Path) -> None:
    from wide_row import encode, our_pass, write_text

    data = encode(log, tmp_path)
    done = our_pass(data, tmp_path)
    assert done.rows_per_second > 0
    assert 0 < done.auc < 1
    write_text(data.test, tmp_path / "test.txt")
    lines = (tmp_path / "test.txt").read_text().splitlines()
    labels = [line.split(",")[0] for line in log.test.read_text().splitlines()[1:]]
    assert [line.split(" ")[0] for line in lines] == ["1" if label == "1" else "-1" for label in labels]
    assert all(line.count("|") == len(CATEGORICAL) + len(NUMERIC) for line in lines)


def test_the_whole_row_trains_and_scores_with_the_command_line(log: ClickLog, tmp_path: Path) -> None:
    from whole_row import ours

    whole = ours(log, tmp_path / "ours", model={"deep": {"hidden": [4]}})
    assert whole.seconds > 0
    assert 0 <= whole.auc <= 1
    assert whole.peak_bytes > 10_000_000


def test_a_command_that_fails_is_told_with_what_it_complained_of(tmp_path: Path) -> None:
    from whole_row import run_command

    with pytest.raises(RuntimeError, match=r"nowhere.yaml"):
        run_command([WIDEDEEP, "train", tmp_path / "nowhere.yaml"])


def test_growth_measures_ten_times_the_train_and_test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import growth_row
    from whole_row import Whole

    def counted(log: ClickLog, work: Path, **sections: Any) -> Whole:
        train, test = (len(path.read_text().splitlines()) - 1 for path in (log.train, log.test))
        return Whole(seconds=train, auc=0.5, peak_bytes=test)

    monkeypatch.setattr(growth_row, "ours", counted)
    result = growth_row.growth(tmp_path, rows=100)
    assert result.small == [Whole(100, 0.5, 10)]
    assert result.large == [Whole(1000, 0.5, 100)]


def test_growth_says_so_where_the_disk_has_too_little_room(tmp_path: Path) -> None:
    from growth_row import growth

    with pytest.raises(OSError, match=r"GB of disk are needed and [\d,]+ GB are free"):
        growth(tmp_path, rows=10**12)


def test_a_row_that_fails_is_a_line_of_the_table_and_the_others_go_on(
    log: ClickLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: rows.Bench) -> rows.Measured:
        raise ValueError("nothing to measure")

    def works(given: rows.Bench) -> rows.Measured:
        assert not list(given.work.iterdir())
        return rows.Measured([Figure("a row", "another", [0.5, 0.7, 0.6], at_least=0.6)], {"it": "name: it"})

    monkeypatch.setattr(bench, "in_own_process", bench.measure)
    monkeypatch.setattr(bench, "ROWS", {"fails": fails, "works": works})
    lines, recipes = bench.run(["fails", "works"], log, tmp_path, 3)
    text = bench.report(lines, recipes, tmp_path, "drawn", f"python bench.py --log {log.train.parent}")
    text = bench.without_places(text, log.train.parent, tmp_path)
    assert isinstance(lines[0], Failure)
    assert "| fails | | | ValueError: nothing to measure | **not measured** |" in text
    assert "| a row | another | ≥ 0.60 | 0.60 (0.50 to 0.70) | met |" in text
    assert "```yaml\nname: it\n```" in text
    assert "peers: none installed" in text
    assert "command: `python bench.py --log LOG`" in text


@pytest.mark.parametrize(
    ("figure", "line"),
    [
        (Figure("r", "a", [2.0], at_most=1.5), "| r | a | ≤ 1.50 | 2.00 | **missed** |"),
        (Figure("r", "a", [2.0]), "| r | a |  | 2.00 |  |"),
        (Figure("r", "–", [4e7], at_least=3e7, form=",.0f"), "| r | – | ≥ 30,000,000 | 40,000,000 | met |"),
        (Figure("r", "a", [4.5], at_most=5, unit=" GB", note="x"), "| r | a | ≤ 5.00 GB | 4.50 GB; x | met |"),
    ],
)
def test_a_figure_is_held_against_its_target(figure: Figure, line: str) -> None:
    assert table([figure]).splitlines()[-1] == line


# -------------------------------------------------------------------------------------------- scripts on many drawn logs


def test_logs_are_measured_once_in_the_parts_and_shares_asked_for_and_big_files_go(tmp_path: Path) -> None:
    from drawn_logs import NOTHING, Drawing, Place, measure_all

    measured: list[str] = []

    def rows_of(place: Place) -> dict[str, Any]:
        place.recipe()
        (place.work / "stages").mkdir(parents=True)
        measured.append(place.name)
        return {"rows": place.truth["rows"]}

    parts = {
        "first": (rows_of, {f"a{seed}": Drawing(200, seed, NOTHING) for seed in range(3)}),
        "second": (rows_of, {"b": Drawing(100, 1, rate=0.3, new_users=0.5)}),
    }
    logs, result = tmp_path / "logs", tmp_path / "result.json"
    measure_all("", parts, [str(logs), str(result), "first", "--only", "0/2"])
    assert measured == ["a0", "a2"]
    measure_all("", parts, [str(logs), str(result), "--keep"])
    assert measured == ["a0", "a2", "a1", "b"]
    assert json.loads(result.read_text())[-1] == {"log": "b", "rows": 100}
    left = {path.relative_to(logs).as_posix() for path in logs.rglob("*") if path.name.startswith(("log.", "stages"))}
    assert left == {"a1/log.parquet", "b/log.csv", "work/a1/stages", "work/b/stages"}
    with pytest.raises(SystemExit):
        measure_all("", parts, [str(logs), str(result), "third"])
    with pytest.raises(SystemExit):
        measure_all("", parts, [str(logs), str(result), "--only", "2/2"])


@pytest.mark.parametrize("script", ["click_rates", "discovery_logs", "new_users"])
def test_every_log_of_a_script_has_a_name_of_its_own(script: str) -> None:
    names = [name for _, drawings in importlib.import_module(script).PARTS.values() for name in drawings]
    assert len(set(names)) == len(names) > 0


def test_a_term_that_main_effects_can_say_is_not_visible_and_a_large_interaction_is() -> None:
    from visible import visibility

    draw = np.random.default_rng(0)
    codes = [draw.integers(0, 10, 40_000) for _ in range(2)]
    noise = draw.normal(0, 1, 40_000)
    main = codes[0] * 0.3 - codes[1] * 0.2
    nothing = visibility(("a", "b"), codes, main, noise + main)
    assert nothing.cells == 100
    assert not nothing.visible
    assert nothing.gain == pytest.approx(0.0, abs=1e-6)
    term = np.where((codes[0] + codes[1]) % 2, 0.5, -0.5)
    assert visibility(("a", "b"), codes, term, noise + term).visible


def test_the_gain_of_a_visible_term_is_its_divergence_less_half_a_nat_per_cell() -> None:
    from visible import PROOF_SHARE, TRAIN_SHARE, visibility

    rows = np.arange(400_000)
    codes = [rows % 20, rows // 20 % 20]
    term = np.where((codes[0] + codes[1]) % 2, 0.3, -0.3)
    before, after = expit(np.full(2, -1.0)), expit([-0.7, -1.3])
    divergence = np.mean(after * np.log(after / before) + (1 - after) * np.log((1 - after) / (1 - before)))
    cost = 400 / 2 / (len(rows) * TRAIN_SHARE * (1 - PROOF_SHARE))
    # Shrinking saves some of the cost: the share s of it is left.
    assert 0.9 * cost < divergence - visibility(("a", "b"), codes, term, term - 1.0).gain < cost


def test_random_crosses_are_trained_beside_none_on_a_log_without_interactions(tmp_path: Path) -> None:
    import click_rates
    from drawn_logs import NOTHING, Drawing, Place

    row = click_rates.harmless(Place(tmp_path, "tiny", Drawing(1_500, 1, NOTHING, rate=0.2, lift=5.0)))
    assert len({frozenset(pair) for pair in row["crosses"]}) == 3
    for kind in ("wide", "wide_deep"):
        assert set(row[kind]["without"]) == {"log_loss", "auc", "calibration"}
        assert row[kind]["ratio"] == pytest.approx(
            row[kind]["with"]["log_loss"] / row[kind]["without"]["log_loss"], 1e-4
        )


def test_what_planted_crosses_pay_is_measured_with_those_of_the_log(tmp_path: Path) -> None:
    import click_rates
    from drawn_logs import Drawing, Place

    drawing = Drawing(1_500, 1, Planting(crosses=2, low_rank=0), rate=0.2, lift=5.0)
    row = click_rates.pays(Place(tmp_path, "tiny", drawing))
    assert len(row["crosses"]) == 2
    assert row["wide"]["ratio"] > 0.0


def test_discovery_on_a_drawn_log_is_told_beside_what_there_was_to_see(tmp_path: Path) -> None:
    import click_rates
    from drawn_logs import Drawing, Place

    planting = Planting(crosses=1, low_rank=1)
    row = click_rates.planted(Place(tmp_path, "tiny", Drawing(6_000, 3, planting, rate=0.3, lift=4.0)))
    assert row["true"] == len(row["pairs"]) == 2
    assert row["found"] == sum(pair["found"] for pair in row["pairs"])
    assert row["visible"] == sum(pair["z"] >= 3 for pair in row["pairs"])
    assert row["visible and found"] <= min(row["visible"], row["found"])


def test_the_promise_of_a_part_of_a_log_is_held_against_its_other_rows(tmp_path: Path) -> None:
    from discovery_logs import covered
    from drawn_logs import Drawing, Place

    row = covered(Place(tmp_path, "tiny", Drawing(60_000, 3, Planting(crosses=3, low_rank=0))), 30_000)
    assert row["crosses"] > 0
    value, low, high = row["promised"]
    assert low < value < high
    assert row["covered"] == (low <= row["realised"][0] <= high)


def test_models_with_and_without_the_user_are_measured_where_users_are_new(tmp_path: Path) -> None:
    import new_users
    from drawn_logs import Drawing, Place

    row = new_users.measured(Place(tmp_path, "tiny", Drawing(1_500, 1, rate=0.3, new_users=0.5)))
    assert 0.3 < row["new"] < 0.7
    for kind in ("wide", "wide_deep"):
        assert row[kind]["with"]["log_loss"] != row[kind]["without"]["log_loss"]


def test_scores_of_both_precisions_are_compared_row_by_row_for_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import precision

    log = precision.LogSet("recipe.yaml", ("training.epochs=1",), ("dcn_v2",), 2, ("--rows", "1500"))
    monkeypatch.setattr(precision, "SETS", {"tiny": log})
    precision.main(tmp_path / "result.json", [])
    measured = json.loads((tmp_path / "result.json").read_text())["sets"]["tiny"]["dcn_v2"]
    assert measured["epochs_kept"] == {"float32": [1, 1], "bfloat16": [1, 1]}
    for metric in ("auc", "log_loss"):
        one = measured[metric]
        assert len(one["float32"]) == len(one["by_seed"]) == 2
        assert one["low"] < one["value"] < one["high"]
        assert one["value"] == pytest.approx(sum(one["by_seed"]) / 2)
        assert 0 < max(map(abs, one["by_seed"])) < 0.02  # other scores, of a model that learnt the same
    assert "| tiny | dcn_v2 | 2 | 150 |" in capsys.readouterr().out


def test_only_a_difference_beyond_its_interval_counts_as_worse() -> None:
    from precision import Difference

    higher, lower = Difference([0.5, 0.6], [0.1, 0.3], 0.2, 0.1, 0.3), Difference([0.5, 0.6], [-0.1], -0.1, -0.2, -0.01)
    unclear = Difference([0.5, 0.6], [0.1, -0.1], 0.0, -0.1, 0.1)
    assert [one.is_worse("log_loss") for one in (higher, lower, unclear)] == [True, False, False]
    assert [one.is_worse("auc") for one in (higher, lower, unclear)] == [False, True, False]


def test_the_guard_tells_planted_drifts_by_the_fields_name_and_nothing_else(tmp_path: Path) -> None:
    import guard

    told = guard.drift(tmp_path, rows=12_000)
    silent = [name for name, (field, warnings) in told.items() if not any(field in warning for warning in warnings)]

    assert told["nothing"] == ("", [])
    assert len(told) >= 21
    assert len(silent) <= 3  # the first among them: nothing has happened


def test_the_profile_of_scoring_has_every_piece_of_the_work(trained: Path, tmp_path: Path) -> None:
    from profile_scoring import profile

    pl.read_csv(trained / "new.csv").write_parquet(tmp_path / "new.parquet")
    pieces = profile((trained / "runs" / "small" / "latest").resolve(), tmp_path / "new.parquet")
    assert list(pieces) == ["reading, texts trimmed, and typing", "encoding", "counting", "forward"]


def test_the_page_of_latencies_has_two_rows_for_each_size_of_request(trained: Path) -> None:
    from latency import report, request_times

    from widedeep.scoring.scorer import Scorer

    run = (trained / "runs" / "small" / "latest").resolve()
    scorer = Scorer.load(run)
    lines = pl.read_csv(trained / "new.csv").write_ndjson().encode().splitlines()
    times = {num_rows: request_times(scorer, lines, num_rows, rounds=6) for num_rows in (1, 50)}
    for of_size in times.values():
        assert {name: len(both) for name, both in of_size.items()} == {"forward": 6, "before": 2, "after": 6}
    page = report(run, times, [0.001] * 5)
    assert [line.split(" | ")[:2] for line in page.splitlines() if line[:3] in ("| 1", "| 5")] == [
        ["| 1", "p50"],
        ["| 1", "computing"],
        ["| 50", "p50"],
        ["| 50", "computing"],
    ]
