"""Bad input ends in one clear message and the documented exit code, and leaves nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from widedeep.runs import RunDirectory

CommandLine = Callable[..., tuple[int, str, str]]


def edit_line(path: Path, number: int, change: Callable[[str], str]) -> None:
    lines = path.read_text().splitlines()
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines) + "\n")


def assert_refused(result: tuple[int, str, str], code: int, *words: str) -> None:
    assert result[0] == code, result
    assert result[1] == ""
    assert "Traceback" not in result[2]
    for word in words:
        assert word in result[2], result[2]


def leftovers(folder: Path) -> list[str]:
    return [str(path) for path in folder.rglob("*") if ".tmp-" in path.name]


def test_a_recipe_with_several_faults_is_told_all_of_them_at_once(project: Path, widedeep: CommandLine) -> None:
    text = (project / "small.yaml").read_text()
    text = text.replace("epochs: 2", "epocs: 2").replace("batch_size: 128", "batch_size: -1")
    (project / "bad.yaml").write_text(text.replace("[color, shape]", "[colour, shape]"))
    result = widedeep("train", "bad.yaml")
    assert_refused(result, 2, "bad.yaml:", "did you mean 'epochs'", "-1", "colour", "did you mean 'color'")
    assert len(result[2].strip().splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), ("", "empty"), ("id,color,shape,user,price,age,click\n", "no rows")]
)
def test_a_missing_an_empty_and_a_header_only_file(
    content: str | None, words: str, project: Path, widedeep: CommandLine
) -> None:
    (project / "log.csv").unlink()
    if content is not None:
        (project / "log.csv").write_text(content)
    assert_refused(widedeep("train", "small.yaml"), 3, "log.csv", words)
    assert not leftovers(project)


@pytest.mark.parametrize(
    "change", [lambda line: line + ",7", lambda line: line.rsplit(",", 1)[0]], ids=["long", "short"]
)
def test_a_short_and_a_long_row_are_refused_with_their_line(
    change: Callable[[str], str], project: Path, widedeep: CommandLine
) -> None:
    edit_line(project / "log.csv", 1234, change)
    assert_refused(widedeep("train", "small.yaml"), 3, "log.csv:1234", "7")
    assert not leftovers(project)


def with_value(column: int, value: str) -> Callable[[str], str]:
    def change(line: str) -> str:
        quoted = line.replace("square, or so", "square; or so").split(",")
        quoted[column] = value
        return ",".join(quoted)

    return change


@pytest.mark.parametrize("value", ["cheap", "NaN", "inf", "-inf"])
def test_text_nan_and_infinity_in_a_numeric_column_show_row_and_value_or_count_as_missing_on_request(
    value: str, project: Path, widedeep: CommandLine
) -> None:
    edit_line(project / "log.csv", 77, with_value(4, value))
    assert_refused(widedeep("ingest", "small.yaml"), 3, "log.csv:77", "price", value, "bad_numbers")
    code, out, _ = widedeep("ingest", "small.yaml", "--json", "--set", "data.bad_numbers=missing")
    assert code == 0
    price = next(column for column in json.loads(out)["columns"] if column["name"] == "price")
    assert price["bad_numbers"] == 1


@pytest.mark.parametrize(("value", "words"), [("", "missing"), ("2", "'2'"), ("maybe", "'maybe'")])
def test_a_missing_label_and_a_third_value_are_refused_with_their_line(
    value: str, words: str, project: Path, widedeep: CommandLine
) -> None:
    edit_line(project / "log.csv", 500, with_value(6, value))
    assert_refused(widedeep("train", "small.yaml"), 3, "log.csv:500", "click", words)


def test_a_constant_label_is_refused(project: Path, widedeep: CommandLine) -> None:
    lines = (project / "log.csv").read_text().splitlines()
    (project / "log.csv").write_text("\n".join([lines[0], *(line[:-1] + "0" for line in lines[1:])]) + "\n")
    assert_refused(widedeep("train", "small.yaml"), 3, "click")


def test_a_column_that_the_table_lacks_is_a_fault_of_the_recipe(project: Path, widedeep: CommandLine) -> None:
    text = (project / "small.yaml").read_text().replace("user,", "usr,")
    (project / "small.yaml").write_text(text)
    assert_refused(widedeep("train", "small.yaml"), 2, "usr", "did you mean 'user'")


def test_a_column_lost_at_scoring_is_refused_not_scored_as_missing(
    trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    (tmp_path / "new.csv").write_text("color,shape,user,age\nred,flat,u1,3\n")
    run = trained / "runs" / "small" / "latest"
    assert_refused(widedeep("predict", run, tmp_path / "new.csv", "-o", tmp_path / "s.csv"), 2, "price", "new.csv")
    assert not (tmp_path / "s.csv").exists()
    assert not leftovers(tmp_path)


def test_a_changed_type_at_scoring_is_refused(trained: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    run = trained / "runs" / "small" / "latest"
    rows = pl.DataFrame({"color": ["red"], "shape": ["flat"], "user": ["u1"], "price": [True], "age": [3.0]})
    for name, frame in {
        "dates": rows.with_columns(price=pl.date(2024, 1, 2)),
        "words": rows.with_columns(price=pl.lit("dear")),
        "lists": rows.with_columns(color=pl.lit([1, 2])),
    }.items():
        frame.write_parquet(tmp_path / f"{name}.parquet")
        result = widedeep("predict", run, tmp_path / f"{name}.parquet", "-o", tmp_path / "s.csv")
        assert_refused(result, 3, f"{name}.parquet", "price" if name != "lists" else "color")
        assert not (tmp_path / "s.csv").exists()


def test_an_unparsable_time_is_refused_with_row_and_value(project: Path, widedeep: CommandLine) -> None:
    edit_line(project / "log.csv", 40, with_value(0, "yesterday"))
    split = ["--set", "data.time=id", "--set", "data.split={kind: time, valid: 0.1, test: 0.1}"]
    assert_refused(widedeep("train", "small.yaml", *split), 3, "log.csv:40", "yesterday")


def test_a_split_that_leaves_nothing_says_which(project: Path, widedeep: CommandLine) -> None:
    split = "data.split={kind: column, column: shape, valid: [flat], test: [oval]}"
    assert_refused(widedeep("train", "small.yaml", "--set", split), 3, "test")


def test_an_all_missing_column_is_refused(project: Path, widedeep: CommandLine) -> None:
    lines = (project / "log.csv").read_text().splitlines()
    emptied = [",".join([*line.split(",")[:-2], "", line[-1]]) for line in lines[1:]]
    (project / "log.csv").write_text("\n".join([lines[0], *emptied]) + "\n")
    assert_refused(widedeep("train", "small.yaml"), 3, "'age'", "missing in all")


@pytest.fixture
def own_run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be damaged."""
    return shutil.copytree((trained / "runs" / "small" / "latest").resolve(), tmp_path / "run")


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing"])
def test_a_damaged_checkpoint_is_an_artefact_error(
    damage: str, own_run: Path, trained: Path, tmp_path: Path, widedeep: CommandLine
) -> None:
    checkpoint = own_run / "checkpoints" / "best.safetensors"
    if damage == "truncated":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif damage == "foreign":
        checkpoint.write_bytes(b"PK\x03\x04 something else")
    else:
        checkpoint.unlink()
    result = widedeep("predict", own_run, trained / "new.csv", "-o", tmp_path / "s.csv")
    assert_refused(result, 4, "best.safetensors")
    assert not (tmp_path / "s.csv").exists()


def test_a_checkpoint_of_another_model_is_refused(own_run: Path, trained: Path, widedeep: CommandLine) -> None:
    recipe = own_run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("hidden: [16, 8]", "hidden: [16, 4]"))
    assert_refused(widedeep("eval", own_run, trained / "new.csv"), 4, "recipe.yaml: it has changed")
    RunDirectory(own_run).pin()
    assert_refused(widedeep("eval", own_run, trained / "new.csv"), 4, "another model")


def test_weights_that_changed_no_longer_pass_the_golden_rows(
    own_run: Path, trained: Path, widedeep: CommandLine
) -> None:
    checkpoint = own_run / "checkpoints" / "best.safetensors"
    content = bytearray(checkpoint.read_bytes())
    for position in range(len(content) - 400, len(content) - 1):
        content[position] ^= 0x11
    checkpoint.write_bytes(content)
    assert_refused(widedeep("eval", own_run, trained / "new.csv"), 4)


def test_a_run_of_a_newer_format_is_refused(own_run: Path, trained: Path, widedeep: CommandLine) -> None:
    manifest = json.loads((own_run / "manifest.json").read_text())
    (own_run / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    assert_refused(widedeep("eval", own_run, trained / "new.csv"), 4, "99", "upgrade")


def test_an_unfinished_run_and_no_run_at_all_are_refused(own_run: Path, trained: Path, widedeep: CommandLine) -> None:
    (own_run / "DONE").unlink()
    assert_refused(widedeep("eval", own_run, trained / "new.csv"), 4, "unfinished", "--resume")
    assert_refused(widedeep("eval", own_run / "nowhere", trained / "new.csv"), 4, "no run")


def test_output_that_exists_is_kept_without_force(trained: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    run, scores = trained / "runs" / "small" / "latest", tmp_path / "s.csv"
    scores.write_text("mine\n")
    assert_refused(widedeep("predict", run, trained / "new.csv", "-o", scores), 2, "s.csv", "--force")
    assert scores.read_text() == "mine\n"
    assert widedeep("predict", run, trained / "new.csv", "-o", scores, "--force")[0] == 0
    assert scores.read_text().startswith("score\n")


def run_apart(*arguments: str | Path, cwd: Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "widedeep_cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, check=False, **options)  # type: ignore[call-overload, no-any-return]


def limited_files(num_bytes: int) -> Callable[[], None]:
    def limit() -> None:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, num_bytes))

    return limit


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits")
@pytest.mark.parametrize("command", ["ingest", "crosses", "train"])
def test_where_no_more_can_be_written_the_exit_code_is_6_and_nothing_half_written_stays(
    command: str, project: Path
) -> None:
    missing_before = {"ingest": None, "crosses": "ingest", "train": "crosses"}[command]
    if missing_before is not None:
        assert run_apart(missing_before, "small.yaml", cwd=project).returncode == 0
    limit = 5_000
    result = run_apart(command, "small.yaml", cwd=project, preexec_fn=limited_files(limit))
    assert result.returncode == 6, result.stderr.decode()
    assert b"cannot write" in result.stderr
    assert not leftovers(project)
    assert not list(project.glob("runs/*/*/DONE"))


def test_scores_that_cannot_be_written_leave_no_file(trained: Path, tmp_path: Path) -> None:
    run = trained / "runs" / "small" / "latest"
    for name in ("s.csv", "s.parquet"):
        result = run_apart(
            "predict", run, trained / "new.csv", "-o", tmp_path / name, cwd=tmp_path, preexec_fn=limited_files(500)
        )
        assert result.returncode == 6, result.stderr.decode()
        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_stdout_is_exit_6(trained: Path) -> None:
    run = trained / "runs" / "small" / "latest"
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "widedeep_cli", "predict", str(run), str(trained / "new.csv"), "-o", "-"]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert result.returncode == 6
    assert b"Traceback" not in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_read_only_place_is_exit_6(trained: Path, tmp_path: Path, widedeep: CommandLine) -> None:
    tmp_path.chmod(0o500)
    run = trained / "runs" / "small" / "latest"
    assert_refused(widedeep("predict", run, trained / "new.csv", "-o", tmp_path / "s.csv"), 6, "s.csv")


def test_a_broken_pipe_downstream_is_quiet(trained: Path, tmp_path: Path) -> None:
    header, *rows = (trained / "new.csv").read_text().splitlines()
    (tmp_path / "long.csv").write_text("\n".join([header, *(rows * 400)]) + "\n")
    run = trained / "runs" / "small" / "latest"
    command = f'"{sys.executable}" -m widedeep_cli predict {run} long.csv -o - | head -n 2; echo "${{PIPESTATUS[0]}}"'
    result = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "141"
    assert result.stderr == ""


def test_a_second_process_in_the_work_directory_is_refused_and_told_who_is_first(
    project: Path, widedeep: CommandLine
) -> None:
    from widedeep.pipeline.workspace import Workspace
    from widedeep.reporting import Reporter

    with Workspace(project).locked(Reporter(), wait=False):
        assert_refused(widedeep("train", "small.yaml"), 4, str(os.getpid()), "--wait")
    assert widedeep("ingest", "small.yaml")[0] == 0
