"""However a command ends, the user gets one message and the documented exit code."""

import errno
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from widedeep.errors import (
    ArtefactError,
    ColumnError,
    DataError,
    Fault,
    Interrupted,
    OutputExistsError,
    RecipeError,
    TrainingError,
    UsageError,
    WidedeepError,
    WriteError,
)
from widedeep_cli.boundary import guarded


def failing(error: BaseException) -> Callable[[], int]:
    def command() -> int:
        raise error

    return command


def run_program(body: str, **options: object) -> subprocess.CompletedProcess[str]:
    program = f"import os, signal, sys\nfrom widedeep_cli.boundary import guarded\n{body}\nsys.exit(guarded(command))\n"
    settings: dict[str, object] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", program], text=True, check=False, **settings)


def test_a_command_that_succeeds_gives_its_own_code() -> None:
    assert guarded(lambda: 0) == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("no such thing"), 2),
        (OutputExistsError("out.csv: exists"), 2),
        (ColumnError("no column age"), 2),
        (DataError("log.csv:3: too short"), 3),
        (ArtefactError("runs/x: unfinished"), 4),
        (TrainingError("loss is not finite"), 5),
        (WriteError("out: disk full"), 6),
        (Interrupted(15, "a checkpoint is written"), 143),
    ],
)
def test_a_known_error_is_its_message_and_nothing_else(
    error: WidedeepError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(failing(error)) == code
    assert capsys.readouterr() == ("", f"widedeep: error: {error}\n")


def test_every_fault_of_a_recipe_has_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [Fault("data.label", "is missing", 3, "r.yaml"), Fault("model.kind", "unknown: deeep", 9, "r.yaml")]

    assert guarded(failing(RecipeError(faults))) == 2
    assert capsys.readouterr().err.splitlines() == [
        "widedeep: error: r.yaml:3: data.label: is missing",
        "widedeep: error: r.yaml:9: model.kind: unknown: deeep",
    ]


@pytest.mark.parametrize("columns", ["60", None])
def test_a_terminal_wraps_an_error_at_words_and_a_pipe_does_not(
    columns: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    message = "log.csv:3: " + "one rule and one value, " * 9 + "see /a/" + "very/" * 20 + "long/path"
    body = f"from widedeep.errors import DataError\ndef command():\n    raise DataError({message!r})\n"
    assert run_program(body).stderr == f"widedeep: error: {message}\n"
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        assert run_program(body, stderr=terminal).returncode == 3
        lines = os.read(master, 65536).decode().splitlines()
    os.close(master)
    assert max(len(line) for line in lines if "very/" not in line) <= int(columns or 80)
    assert [line.startswith("  ") for line in lines] == [False, *[True] * (len(lines) - 1)]
    assert " ".join(line.strip() for line in lines) == f"widedeep: error: {message}"


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EACCES", "EPERM", "EDQUOT", "EFBIG"])
def test_what_cannot_be_written_is_named(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(OSError(getattr(errno, name), "whatever", "runs/a/last"))) == 6
    assert capsys.readouterr().err.startswith("widedeep: error: runs/a/last: cannot write: ")


@pytest.mark.parametrize("reason", [errno.EIO, errno.ESTALE, errno.ENOENT, errno.EISDIR])
@pytest.mark.parametrize(
    ("name", "code"),
    [("log.csv", 3), ("run/plan/plan.json", 4), ("run/metrics.json", 4), ("stages/ingest/0a/train/p.arrow", 4)],
)
def test_a_file_that_fails_while_it_is_read_is_named_as_what_it_is(
    reason: int, name: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "manifest.json").touch()

    assert guarded(failing(OSError(reason, "whatever", str(tmp_path / name)))) == code
    told = capsys.readouterr().err
    assert told.startswith(f"widedeep: error: {tmp_path / name}: cannot be read: {os.strerror(reason)}: ")
    assert told.count("\n") == 1


def test_a_disk_that_fails_is_no_bug_where_no_file_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(OSError(errno.EIO, "Input/output error"))) == 3
    assert guarded(failing(pl.exceptions.ComputeError("reading: (os error 5)"))) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_a_full_disk_is_seen_in_the_words_of_a_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(RuntimeError("parquet: io error: no space left (os error 28)"))) == 6
    assert "cannot write: No space left on device" in capsys.readouterr().err


def test_exhausted_memory_counts_as_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(MemoryError())) == 5
    assert "out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("can't start new thread"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        pl.exceptions.ComputeError("Cannot allocate memory (os error 12)"),
    ],
    ids=str,
)
@pytest.mark.parametrize("told", [False, True])
def test_exhausted_memory_is_told_whoever_noticed_it(
    error: Exception, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: Exception = error
    if told:
        raised = DataError("log.parquet: not a readable Parquet file")
        raised.__cause__ = error
    assert guarded(failing(raised)) == 5
    assert "close other programs or raise the limit on memory" in capsys.readouterr().err


def test_a_cell_that_says_out_of_memory_is_a_cell() -> None:
    raised = DataError("log.csv: row 3: a bad value")
    raised.__cause__ = pl.exceptions.ComputeError("could not parse `out of memory` as Int64")
    assert guarded(failing(raised)) == 3


def test_ctrl_c_is_130_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(failing(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err == "widedeep: interrupted\n"


@pytest.mark.parametrize("error", [ZeroDivisionError("division by zero"), OSError(errno.EBADF, "which file?")])
def test_anything_else_is_a_bug_with_a_traceback_versions_and_where_to_report(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    assert guarded(failing(error)) == 1
    text = capsys.readouterr().err
    assert text.startswith("Traceback (most recent call last):")
    assert type(error).__name__ in text
    assert "issue tracker" in text
    assert "polars 2" in text


def test_sigterm_cleans_up_even_when_it_comes_twice() -> None:
    done = run_program("""
def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        sys.stderr.write("cleaned up\\n")
""")

    assert (done.returncode, done.stderr) == (143, "cleaned up\nwidedeep: terminated\n")


def test_sigterm_is_not_swallowed_by_a_handler_of_exceptions() -> None:
    done = run_program("""
def command():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    except Exception:
        return 0
""")

    assert done.returncode == 143


@pytest.mark.parametrize("written", [10, 1_000_000], ids=["at exit", "while writing"])
def test_a_reader_that_leaves_ends_the_command_quietly(written: int) -> None:
    body = f"""
r, w = os.pipe(); os.dup2(w, 1); os.close(w); os.close(r)
def command():
    sys.stdout.write("x" * {written})
    return 0
"""
    done = run_program(body)

    assert (done.returncode, done.stderr) == (141, "")


def test_a_stdout_that_was_never_open_counts_as_a_reader_that_left() -> None:
    body = "from widedeep_cli.results import print_json\ndef command():\n    print_json({})\n    return 0\n"
    done = run_program("os.close(1); sys.stdout = None\n" + body)

    assert (done.returncode, done.stderr) == (141, "")


def test_a_full_device_behind_stdout_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        done = run_program("def command():\n    print('result')\n    return 0\n", stdout=full)

    assert done.returncode == 6
    assert done.stderr.count("\n") == 1
    assert "cannot write" in done.stderr


def test_a_closed_stderr_does_not_change_the_exit_code() -> None:
    body = "os.close(2); sys.stderr = None\ndef command():\n    raise __import__('widedeep').errors.DataError('x')\n"

    assert run_program("import widedeep.errors\n" + body).returncode == 3
