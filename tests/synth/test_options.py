"""Sample logs at real click rates: the rate is met, heavy values are as heavy as told, new users come at their share."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from widedeep.errors import UsageError
from widedeep.reporting import Reporter
from widedeep.synth.criteo import LABEL_RATE, CriteoWorld, Planting
from widedeep.synth.draws import Draws, Scales
from widedeep.synth.heavy import heavy_values
from widedeep.synth.sample_log import SampleLog, write_criteo_log, write_sample_log
from widedeep.synth.world import CATEGORICAL, CLICK_RATE, World

NOTHING = Planting(crosses=0, low_rank=0)


def bytes_of(log: SampleLog) -> list[bytes]:
    return [path.read_bytes() for path in log.files]


def criteo(folder: Path, rows: int = 500, seed: int = 5, **options) -> SampleLog:
    folder.mkdir()
    return write_criteo_log(folder, rows, seed, NOTHING, Reporter(), **options)


def clicks(folder: Path, rows: int = 500, seed: int = 5, **options) -> SampleLog:
    folder.mkdir()
    return write_sample_log(folder, rows, seed, Reporter(), **options)


# ----------------------------------------------------------------------------------------------------- equal bytes


def test_the_options_at_their_defaults_change_no_byte(tmp_path):
    assert bytes_of(criteo(tmp_path / "a")) == bytes_of(criteo(tmp_path / "b", rate=LABEL_RATE, lift=1.0))
    assert bytes_of(clicks(tmp_path / "c")) == bytes_of(clicks(tmp_path / "d", rate=CLICK_RATE, lift=1.0))


def test_the_first_rows_of_a_seed_of_criteos_shape_are_what_they_have_always_been():
    frame, _, _ = CriteoWorld(4, Planting(triples=1)).labelled(np.arange(60, dtype=np.uint64))
    assert "".join(map(str, frame["label"])) == "101110000000100010000100011001000100100100110001100001010011"
    assert frame.row(0)[1:17] == (7, 6, 496, 76, 33, 1, 8, None, 5, 2, 5, 8, 6, "34c0946b", "22021afb", "12c09b00")


@pytest.mark.parametrize("write", [criteo, clicks])
def test_equal_options_give_equal_bytes(tmp_path, write):
    options = {"rate": 0.1, "lift": 9.0} | ({"new_users": 0.4} if write is clicks else {})
    first, second = (bytes_of(write(tmp_path / name, **options)) for name in "ab")
    assert first == second
    assert bytes_of(write(tmp_path / "c", **options | {"lift": 10.0})) != first


def test_a_rate_and_a_lift_leave_the_columns_of_a_log_as_they_are(tmp_path):
    plain, other = (
        pl.read_parquet(log.files[0]) for log in (criteo(tmp_path / "a"), criteo(tmp_path / "b", rate=0.1, lift=20.0))
    )
    assert plain.drop("label").equals(other.drop("label"))


# ------------------------------------------------------------------------------------------------------------ rates


@pytest.mark.parametrize("lift", [1.0, 50.0])
@pytest.mark.parametrize("rate", [0.002, 0.9])
def test_the_expected_rate_of_a_log_is_the_one_asked_for(rate, lift):
    worlds = [CriteoWorld(1, Planting(), rate=rate, lift=lift), World(1, rate=rate, lift=lift)]
    rows = 200_000
    for world in worlds:
        more = (rows,) if isinstance(world, World) else ()
        blocks = [np.arange(start, start + 50_000, dtype=np.uint64) for start in range(0, rows, 50_000)]
        chances = np.concatenate([world.labelled(block, *more)[1] for block in blocks])
        assert chances.mean() == pytest.approx(rate, rel=0.05)


def test_labels_of_a_rare_log_come_at_its_rate(tmp_path):
    log = criteo(tmp_path / "log", rows=200_000, rate=0.01, lift=50.0)
    labels = pl.read_parquet(log.files[0], columns=["label"])["label"]
    assert labels.mean() == pytest.approx(0.01, rel=0.1)  # 2,000 positive rows: a standard error of 2%
    assert json.loads(log.files[1].read_text())["ctr"] == labels.mean()


@given(
    logits=st.lists(st.floats(-60, 60), min_size=1, max_size=20).map(np.array),
    rate=st.floats(-18, 18).map(expit),
)
def test_an_intercept_brings_any_logits_to_any_rate(logits, rate):
    scales = Scales([], 3.0).at_rate([logits], rate)
    assert expit(logits + (scales.intercept - 3.0)).mean() == pytest.approx(rate, rel=1e-6)


# ------------------------------------------------------------------------------------------------------------ lifts


@pytest.mark.parametrize(("shape", "lift"), [("criteo", 50.0), ("criteo", 3.0), ("clicks", 20.0)])
def test_heavy_values_have_the_lifts_that_truth_json_tells(tmp_path, shape, lift):
    if shape == "criteo":
        log = criteo(tmp_path / "log", rows=200_000, rate=0.03, lift=lift)
        frame, label = pl.read_parquet(log.files[0]), "label"
    else:
        log = clicks(tmp_path / "log", rows=200_000, rate=0.03, lift=lift)
        frame, label = pl.read_csv(log.files[0]), "click"
    heavy = json.loads(log.files[1].read_text())["heavy"]
    held = frame.select((pl.col(one["column"]) == one["value"]).alias(one["column"]) for one in heavy)
    fitted = LogisticRegression(C=1e6).fit(held.to_numpy(), frame[label])
    assert len(held.columns) == 4
    assert all(0.009 < share < 0.051 for share in held.mean().row(0))
    lifts = [one["lift"] for one in heavy]
    assert max(lifts) == lift
    assert min(lifts) == pytest.approx(max(lift / 6, lift**0.5), abs=1e-3)
    # A value has its usual effect, too (0.12 of deviation), and a click log's columns have those of planted pairs.
    assert fitted.coef_[0] == pytest.approx(np.log(lifts), abs=0.45 if shape == "criteo" else 0.8)


def test_a_log_without_lift_tells_of_no_heavy_value(tmp_path):
    assert "heavy" not in json.loads(criteo(tmp_path / "log", rate=0.1).files[1].read_text())


@given(seed=st.integers(0, 1_000), lift=st.floats(1.001, 1e6))
def test_heavy_values_are_of_different_columns_and_middling_frequency(seed, lift):
    shares = {
        "flat": np.full(3, 1 / 3),
        "tail": np.full(5_000, 2e-4),
        **{f"c{number}": 0.5 ** np.arange(1.0, 30) for number in range(3)},
    }
    heavy = heavy_values(Draws(seed), shares, lift)
    assert sorted(value.column for value in heavy) == ["c0", "c1", "c2"]
    assert all(0.01 <= shares[value.column][value.code] <= 0.05 for value in heavy)
    assert all(1.0 <= value.lift <= lift + 1e-4 for value in heavy)


def test_users_are_never_heavy():
    names = {column.name for column in CATEGORICAL} - {"user"}
    for seed in range(3):
        assert {value.column for value in World(seed, lift=10.0).heavy} <= names


# -------------------------------------------------------------------------------------------------------- new users


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.9])
def test_new_users_come_at_their_share_to_the_test_rows_the_valid_rows_and_late_train_rows(tmp_path, share):
    log = clicks(tmp_path / "log", rows=200_000, new_users=share)
    user = pl.read_csv(log.files[0], columns=["user"])["user"]

    def new(first: int, last: int, known: int) -> float:
        return 1 - user[first:last].is_in(user[:known].unique().implode()).mean()

    assert new(180_000, 200_000, 160_000) == pytest.approx(share, abs=0.02)
    assert new(160_000, 180_000, 160_000) == pytest.approx(share, abs=0.1)
    assert new(120_000, 160_000, 120_000) == pytest.approx(share, abs=0.06)
    counts = user[:160_000].value_counts()["count"]
    assert 20 < counts.quantile(0.1) < counts.quantile(0.9) < 50
    assert json.loads(log.files[1].read_text())["new_users"] == share


def test_a_known_user_tells_much_of_a_row(tmp_path):
    log = clicks(tmp_path / "log", rows=60_000, new_users=0.0)
    frame = pl.read_csv(log.files[0], columns=["user", "click"])
    seen = frame[:48_000].group_by("user").agg((pl.col("click").sum() + 3) / (pl.len() + 10))
    late = frame[48_000:].join(seen, on="user", suffix="_rate")
    assert np.corrcoef(late["click"], late["click_rate"])[0, 1] > 0.2


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_even_a_small_log_may_have_new_users(tmp_path, share):
    log = clicks(tmp_path / "log", rows=100, new_users=share)
    assert pl.read_csv(log.files[0])["user"].str.contains(r"^user_\d+$").all()


# ----------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 0.0}, "--rate must be above 0 and below 1, not 0.0"),
        ({"rate": 1.0}, "--rate must be above 0 and below 1, not 1.0"),
        ({"rate": float("nan")}, "--rate must be above 0 and below 1, not nan"),
        ({"rate": 0.002}, "--rate 0.002 of --rows 500 leaves fewer than 20 rows of a label: .* at least 10,000 rows"),
        ({"rate": 0.999}, "--rate 0.999 of --rows 500 leaves fewer than 20 rows of a label"),
        ({"lift": 0.5}, "--lift must be a number of at least 1, not 0.5"),
        ({"lift": float("inf")}, "--lift must be a number of at least 1, not inf"),
        ({"new_users": 1.0}, "--new-users must be at least 0 and below 1, not 1.0"),
        ({"new_users": -0.1}, "--new-users must be at least 0 and below 1, not -0.1"),
    ],
)
def test_a_value_out_of_its_range_is_refused_before_anything_is_written(tmp_path, options, message):
    writers = [clicks] if "new_users" in options else [clicks, criteo]
    for write in writers:
        with pytest.raises(UsageError, match=message):
            write(tmp_path / write.__name__, **options)
        assert list((tmp_path / write.__name__).iterdir()) == []


def test_more_rows_than_any_machine_holds_are_refused_as_usage(widedeep, tmp_path):
    code, _, err = widedeep("synth", "-o", tmp_path / "log", "--rows", str(2**63 - 1))

    assert code == 2
    assert "Invalid value for '--rows'" in err
    assert not (tmp_path / "log").exists()
