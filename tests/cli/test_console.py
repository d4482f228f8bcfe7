"""Results are exact on stdout; progress is alive on a terminal and silent elsewhere."""

import contextlib
import io
import json
import os
import pty
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from widedeep import figures
from widedeep_cli import console, results

EPOCH = {
    "epoch": 1,
    "epochs": 3,
    "train_loss": 0.52341,
    "auc": 0.71234,
    "log_loss": 0.5,
    "normalized_entropy": 0.9,
    "brier": 0.2,
    "calibration": 1.01,
    "ece": 0.012,
    "average_precision": 0.4,
    "rows_per_second": 48_123.4,
    "scale": 1.0,
    "best": True,
}
CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A pseudo-terminal behind sys.stderr, 80 columns wide."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._master, slave = pty.openpty()
        self.stream = os.fdopen(slave, "w")

    def reporter(self, **options: bool) -> console.ConsoleReporter:
        # Only now: pytest puts its own stderr back between a fixture and its test.
        self._monkeypatch.setattr(sys, "stderr", self.stream)
        return console.ConsoleReporter(**options)

    def shown(self) -> str:
        self.stream.flush()
        os.set_blocking(self._master, False)
        text = b""
        with contextlib.suppress(BlockingIOError):
            while True:
                text += os.read(self._master, 65536)
        return text.decode()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    terminal = Terminal(monkeypatch)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    yield terminal
    terminal.stream.close()


def draw_everything(reporter: console.ConsoleReporter) -> None:
    with reporter.work("train", 1000, "rows") as meter:
        meter.update(500, loss=0.4321)
        reporter.epoch(EPOCH)
        reporter.warn("column C3 is always missing [sic]")
    reporter.note("written to runs/x")


def test_without_a_terminal_only_words_are_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")

    draw_everything(console.ConsoleReporter())

    assert capsys.readouterr() == (
        "",
        "epoch 1/3  train loss 0.5234  valid AUC 0.7123 log loss 0.5000 calibration 1.0100  48,123 rows/s  best\n"
        "widedeep: warning: column C3 is always missing [sic]\nwidedeep: written to runs/x\n",
    )


def test_quiet_leaves_warnings_alone(capsys: pytest.CaptureFixture[str], terminal: Terminal) -> None:
    draw_everything(console.ConsoleReporter(quiet=True))
    assert capsys.readouterr() == ("", "widedeep: warning: column C3 is always missing [sic]\n")
    draw_everything(terminal.reporter(quiet=True))
    assert CONTROL.sub("", terminal.shown()).splitlines() == ["widedeep: warning: column C3 is always missing [sic]"]


def test_a_line_of_an_epoch_holds_the_metric_that_chooses_first(capsys: pytest.CaptureFixture[str]) -> None:
    ranked = {"epoch": 2, "epochs": 9, "train_loss": None, "gauc": 0.6, "auc": 0.7, "brier": 0.2, "best": False}
    console.ConsoleReporter().epoch({**ranked, "rows_per_second": 10.0, "scale": 1.0})
    unchosen = {"epoch": 1, "epochs": 1, "train_loss": 0.5, "rows_per_second": 10.0, "scale": 1.0, "best": True}
    console.ConsoleReporter().epoch(unchosen)
    assert capsys.readouterr().err.splitlines() == [
        "epoch 2/9  train loss –  valid GAUC 0.6000 AUC 0.7000  10 rows/s",
        "epoch 1/1  train loss 0.5000  10 rows/s  best",
    ]


def test_a_terminal_shows_a_live_line_with_loss_rate_and_time_left(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    with reporter.work("train", 1000, "rows") as meter:
        meter.update(500, loss=0.4321, rows_per_second=48_123.0)
        assert reporter._progress is not None
        reporter._progress.refresh()
        shown = CONTROL.sub("", terminal.shown())

    assert "train" in shown
    assert "50%" in shown
    assert "48,123 rows/s" in shown
    assert "loss 0.4321" in shown


def test_the_time_left_promises_no_more_than_patience_allows(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    with reporter.work("train", 1000, "rows") as meter:
        shown = {}
        for how, total, amounts in (("at most", 1000, (100, 200)), ("likely", 600, (300, 400))):
            meter.expect(total, how)  # type: ignore[arg-type]
            for done in amounts:
                meter.update(done)
            assert reporter._progress is not None
            (task,) = reporter._progress.tasks
            reporter._progress.refresh()
            shown[how] = CONTROL.sub("", terminal.shown())
            assert task.total == total

    assert re.search(r"at most \S+( s)? left", shown["at most"])
    assert re.search(r"likely \S+( s)? left", shown["likely"])


def test_work_inside_work_and_failing_work_leave_no_live_line_behind(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    with pytest.raises(ZeroDivisionError), reporter.work("outer", None, "rows"), reporter.work("inner", 10, "bytes"):
        raise ZeroDivisionError

    assert reporter._progress is None


def test_an_epoch_fits_the_width_and_keeps_what_matters(terminal: Terminal) -> None:
    terminal.reporter().epoch(EPOCH)

    header, row = CONTROL.sub("", terminal.shown()).splitlines()
    assert max(len(header), len(row)) <= 80
    assert header.split()[:7] == ["epoch", "train", "loss", "AUC", "log", "loss", "calibration"]
    assert row.split()[:3] == ["1", "0.5234", "0.7123"]
    assert row.split()[-3:] == ["48,123", "1", "*"]


def test_another_seed_starts_a_table_of_its_own(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    for epoch in (1, 2, 1):
        reporter.epoch({**EPOCH, "epoch": epoch})

    assert terminal.shown().count("train loss") == 2


def test_no_color_is_honoured(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-9]")
    draw_everything(terminal.reporter())
    assert coloured.search(terminal.shown())

    monkeypatch.setenv("NO_COLOR", "1")
    draw_everything(terminal.reporter())
    assert not coloured.search(terminal.shown())


def test_a_dumb_terminal_gets_no_bars(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")

    draw_everything(terminal.reporter())

    assert [line.split()[0] for line in terminal.shown().splitlines()] == ["epoch", "widedeep:", "widedeep:"]


LONG = "column 'created' drifts by time: see runs/" + "deep/" * 20 + " and " + "so many words " * 12 + "at its end"


def test_a_terminal_wraps_messages_at_words_and_never_cuts_a_path(terminal: Terminal) -> None:
    reporter = terminal.reporter()
    reporter.warn(LONG)
    reporter.note(LONG)

    lines = CONTROL.sub("", terminal.shown()).replace("\r", "").splitlines()
    assert max(len(line) for line in lines if "deep/" not in line) <= 80
    assert [line for line in lines if not line.startswith("  ")] == [lines[0], lines[len(lines) // 2]]
    words = [f"widedeep: warning: {LONG}", f"widedeep: {LONG}"]
    assert " ".join(line.strip() for line in lines) == " ".join(words)


def test_a_pipe_keeps_a_message_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    console.ConsoleReporter().warn(LONG)
    assert capsys.readouterr().err == f"widedeep: warning: {LONG}\n"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_a_json_result_is_one_strict_object(value: dict[str, object]) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    stdout, before = io.StringIO(), sys.stdout
    sys.stdout = stdout
    try:
        results.print_json(value)
    finally:
        sys.stdout = before

    assert stdout.getvalue().count("\n") == 1
    assert json.loads(stdout.getvalue(), parse_constant=refuse).keys() == value.keys()


def test_json_writes_nan_as_null_and_a_path_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    results.print_json({"auc": float("nan"), "run": Path("runs/a"), "loss": float("inf")})

    assert json.loads(capsys.readouterr().out) == {"auc": None, "run": "runs/a", "loss": None}


def test_metrics_stand_in_rows_and_splits_in_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_metrics({"valid": {"auc": 0.91234, "rows": 12_345}, "test": {"auc": None, "rows": 7}})

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["metric", "valid", "test"],
        ["AUC", "0.9123", "–"],
        ["rows", "12,345", "7"],
    ]


def test_metrics_over_seeds_carry_their_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_metrics({"test": {"auc": {"mean": 0.91, "deviation": 0.00021}}})

    assert "0.9100 ± 0.00021" in capsys.readouterr().out


def profiled(name: str, missing: dict[str, int]) -> dict[str, object]:
    """A column as the ingest report describes it."""
    top = [{"value": f"a value of {number}", "share": 0.2, "label_rate": 0.5} for number in range(5)]
    return {
        "name": name, "column": name, "role": "text", "type": "text", "missing": missing, "distinct": 5,
        "distinct_is": "exact", "label_rates": {"lowest": 0.1, "highest": 0.9}, "alone_auc": 0.6, "alone_r2": None,
        "quantiles": None, "top": top,
    }  # fmt: skip


def test_a_table_of_columns_fits_eighty_columns_and_loses_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a_column_with_a_name_that_is_far_too_long_for_any_table_of_eighty_columns_in_all_" * 2
    console.print_columns([profiled(name, {"train": 12_345})], 20_000)

    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert "".join(line.split()[0] for line in lines[1:]) == name


def test_missing_values_are_shown_as_their_share_of_all_splits(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_columns([profiled("x", {"train": 3, "test": 2})], 10)

    header, row = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["column", "type", "missing", "distinct"]
    assert row.split()[:4] == ["x", "text", "50%", "5"]


def test_facts_fit_eighty_columns_but_never_cut_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    path = "runs/" + "deep/" * 30
    results.print_facts({"unseen values": [f"field_{number} 1,234" for number in range(12)], "run": path})

    *counted, run = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in counted) <= 80
    assert "".join(counted).count("field_") == 12
    assert run.split() == ["run", path]


def test_a_cross_is_shown_by_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_crosses([{"columns": ["age", "job"], "distinct": 1234, "known_rows": 0.75}])

    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["columns", "distinct", "known", "rows"],
        ["age", "x", "job", "1,234", "0.7500"],
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.0000"), (0.91236, "0.9124"), (0.000123456, "0.0001235"), (123456.7, "1.235e+05"), (None, "–"), (7, "7")],
)
def test_a_figure_is_short_and_says_enough(value: float | None, text: str) -> None:
    assert figures.figure(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(8.32, "8.3 s"), (247, "4:07"), (7800, "2:10:00")])
def test_a_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    assert figures.duration(seconds) == text
