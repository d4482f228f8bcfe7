"""The stages by Dask and by Ray: off by default, as both are large and slow to start (`make test-engines` runs them)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from discovery_of_workers import write_clicks
from stages_of_workers import files_of, write_project
from worker_tasks import die, die_at_first, fail, refuse_from_two_on, square

from widedeep.errors import ColumnValuesError, WorkersError
from widedeep.workers import open_workers

CommandLine = Callable[..., tuple[int, str, str]]

pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", params=["dask", "ray"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where two workers are, which import what tests import."""
    paths = os.pathsep.join(map(str, [Path(__file__).parent, Path(__file__).parents[1]]))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = paths
    try:
        if request.param == "ray":
            pytest.importorskip("ray")
            yield "ray"
        else:
            distributed = pytest.importorskip("distributed")
            with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
                yield cluster.scheduler_address
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def test_an_engine_does_every_part_once_though_workers_die_and_tells_the_first_error(
    address: str, tmp_path: Path
) -> None:
    with open_workers(address, tmp_path) as workers:
        assert sorted(workers.map(square, range(5))) == [(number, number**2) for number in range(5)]
        with pytest.raises(KeyError, match="no more"):
            workers.in_order(square, numbers_that_end_badly(2))
        with pytest.raises(ColumnValuesError, match="is odd"):  # of number 2, before the bad end
            workers.in_order(refuse_from_two_on, numbers_that_end_badly(3))
        assert len(workers.in_order(die_at_first, [tmp_path / "first", tmp_path / "second"])) == 2
        with pytest.raises(ColumnValuesError, match=r"^log.csv:7: column 'price': is odd$"):
            workers.in_order(refuse_from_two_on, range(6))
        with pytest.raises(ZeroDivisionError, match="a bug"):
            workers.in_order(fail, [0])
        with pytest.raises(WorkersError, match="workers died of the same part"):
            workers.in_order(die, [0])


def numbers_that_end_badly(count: int) -> Iterator[int]:
    yield from range(count)
    raise KeyError("no more")


def test_stages_by_an_engine_have_the_bytes_of_a_pool(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr("widedeep.profile.ingest_parts.PIECE_BYTES", 15_000)
    write_project(tmp_path, monkeypatch)
    for work, workers in (("pool", "2"), ("engine", address)):
        for command in ("ingest", "crosses"):
            code, _, err = widedeep(command, "parts.yaml", "--work", work, "--workers", workers)
            assert code == 0, err

    assert files_of(tmp_path / "engine" / "stages") == files_of(tmp_path / "pool" / "stages")


def test_discovery_by_an_engine_finds_what_one_process_finds(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setattr("widedeep.discovery.screen._CANDIDATES_TOGETHER", 3)
    write_clicks(tmp_path)
    monkeypatch.chdir(tmp_path)
    printed = []
    for options in ([], ["--workers", address]):
        code, out, err = widedeep("crosses", "clicks.yaml", "--discover", "--json", *options)
        assert code == 0, err
        printed.append({**json.loads(out), "seconds": None})

    assert printed[0] == printed[1]
    assert printed[0]["crosses"]


def test_scores_and_metrics_by_an_engine_are_those_of_one_process(
    address: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, widedeep: CommandLine
) -> None:
    monkeypatch.chdir(tmp_path)
    files = [shutil.copy(trained / name, tmp_path) for name in ("log.csv", "new.csv")]
    run = trained / "runs" / "small" / "latest"
    told = []
    for options in ([], ["--workers", address]):
        told.append(
            [
                widedeep("predict", run, *files, "-o", "-", "--keep", "id", *options),
                widedeep("predict", run, "log.csv", "new.csv", "-o", "folder/", "--force", *options),
                widedeep("eval", run, "new.csv", "--json", *options),
            ]
        )
        assert [code for code, _, _ in told[-1]] == [0, 0, 0], told
    assert told[0] == told[1]


def test_a_cluster_that_is_not_there_is_told_with_its_address(
    address: str, project: Path, widedeep: Callable[..., tuple[int, str, str]]
) -> None:
    where = f"{'tcp' if address.startswith('tcp') else 'ray'}://127.0.0.1:1"

    code, out, err = widedeep("ingest", "small.yaml", "--workers", where)

    assert (code, out) == (5, "")
    assert f"--workers {where}: nobody answers there" in err
