"""Runs in MLflow by its client: in a folder, an SQLite file beside the files of the runs, or a server."""

import logging
import os
import re
import sqlite3
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from widedeep.errors import WriteError
from widedeep.files import replacing_file
from widedeep.locks import locked
from widedeep.tracking.replay import Replay

# By default MLflow reports to its makers, and asks a server that is away for minutes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
# It would write addresses of runs to stdout.
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"

from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.tracking import MlflowClient

DATABASE, FILES = "mlflow.db", "files"
"""What lies in a folder: the database, and the files of runs."""
_LOCK = ".widedeep.mlflow.lock"
"""Not the name of a work directory's own lock: the folder may be one, which a training under way has locked."""

_OF_RUN, _OF_KEY = "widedeep.run", "widedeep.key"
_MOST_METRICS, _MOST_PARAMETERS, _LONGEST = 1000, 100, 250
_LONGEST_VALUE = 6000
_NOT_IN_NAMES = re.compile(r"[^\w\-. :/]", re.ASCII)
_ARTEFACT_ROOT = "_MLFLOW_SERVER_ARTIFACT_ROOT"


class MlflowTracker:
    """MLflow at one place."""

    def __init__(self, place: str) -> None:
        """`place` is a folder, or the URI of a server. Raises WriteError."""
        self._place = place
        self._folder = None if "://" in place else Path(place)
        for name in ("alembic", "mlflow"):  # they tell each step of making the tables
            logging.getLogger(name).setLevel(logging.ERROR)
        uri = place
        if self._folder is not None:
            uri = f"sqlite:///{self._folder / DATABASE}"
            # Without it, MLflow would make a folder `mlruns` in the current directory.
            os.environ[_ARTEFACT_ROOT] = (self._folder / FILES).as_uri()
        try:
            with self._alone():
                if self._folder is not None:
                    _require_database(self._folder / DATABASE)
                self._client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        except Exception as error:  # of its own, of SQLAlchemy, of Alembic
            raise self._told(error) from error

    def write(self, replay: Replay) -> str:
        """Write what the run's place in MLflow lacks, and give its address there. Raises WriteError.

        A run is found again by a tag with its name and key. Series get the steps only that they lack.
        """
        try:
            with self._alone():
                return self._written(replay)
        except Exception as error:
            raise self._told(error) from error

    def _alone(self) -> AbstractContextManager[None]:
        """Keeps out, where it is a folder, other commands that write there: two would make the same run twice."""
        if self._folder is None:
            return nullcontext()
        return locked(self._folder, self._folder / _LOCK, "", wait=True, note=lambda _: None, keep=False)

    def _written(self, replay: Replay) -> str:
        client, experiment = self._client, self._experiment(replay.recipe)
        tags = {_OF_RUN: f"{replay.recipe}/{replay.name}", _OF_KEY: replay.key}
        wanted = " and ".join(f"tags.`{name}` = '{_quoted(value)}'" for name, value in tags.items())
        found = client.search_runs([experiment], wanted, max_results=1)
        started, ended = int(1000 * replay.started), int(1000 * replay.ended)
        run = found[0] if found else client.create_run(experiment, started, tags, run_name=replay.name)
        run_id = run.info.run_id
        metrics = self._metrics(replay, run_id, set(run.data.metrics))
        for first in range(0, len(metrics), _MOST_METRICS):
            client.log_batch(run_id, metrics=metrics[first : first + _MOST_METRICS])
        parameters = [parameter for parameter in _parameters(replay) if parameter.key not in run.data.params]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            client.log_batch(run_id, params=parameters[first : first + _MOST_PARAMETERS])
        client.log_batch(run_id, tags=[RunTag("mlflow.source.name", "widedeep")])
        for file in replay.files.values():
            client.log_artifact(run_id, str(file))
        for name, png in replay.pictures.items():
            self._log_bytes(run_id, png, f"{name}.png")
        if replay.finished:
            client.set_terminated(run_id, "FINISHED", ended)
        if self._folder is None:
            return f"{self._place}/#/experiments/{experiment}/runs/{run_id}"
        return f"{self._folder / DATABASE}, run {run_id}"

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage != "active":
                raise WriteError(f"{self._place}: the experiment {name} is deleted in MLflow: restore it there")
            return str(found.experiment_id)
        root = None if self._folder is None else (self._folder / FILES / name).as_uri()
        return str(self._client.create_experiment(name, artifact_location=root))

    def _metrics(self, replay: Replay, run_id: str, known: set[str]) -> list[Metric]:
        """The points of series, and figures, that the run lacks there."""
        points = [(_name(p.series), p.value, int(1000 * p.time), p.step) for p in replay.points]
        ended = int(1000 * replay.ended)
        points += [(_name(name), value, ended, replay.best_epoch) for name, value in replay.figures.items()]
        there = {name: {metric.step for metric in self._client.get_metric_history(run_id, name)} for name in known}
        return [Metric(*point) for point in points if point[3] not in there.get(point[0], ())]

    def _log_bytes(self, run_id: str, content: bytes, name: str) -> None:
        with TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            self._client.log_artifact(run_id, str(Path(folder) / name), "pictures")

    def _told(self, error: Exception) -> WriteError:
        if isinstance(error, WriteError):
            return error
        text = error.message if isinstance(error, MlflowException) else str(error)
        return WriteError(f"{self._place}: MLflow cannot write: {' '.join(text.split())[:300]}")


def _require_database(path: Path) -> None:
    """Make the database, if it is missing. Raises sqlite3.Error for what is none: MLflow would try for a minute."""
    if path.is_dir() or (path.exists() and path.stat().st_size):
        with closing(sqlite3.connect(path)) as database:
            database.execute("PRAGMA user_version")
        return
    # It makes its tables in many steps, and cannot go on with a database that lacks some.
    with replacing_file(path) as temporary:
        SqlAlchemyStore(f"sqlite:///{temporary}", (path.parent / FILES).as_uri()).engine.dispose()


def _name(name: str) -> str:
    """A name that MLflow takes: `map@10` is `map_at_10`, and an underscore stands for what else it refuses."""
    return _NOT_IN_NAMES.sub("_", name.replace("@", "_at_"))[:_LONGEST]


def _quoted(value: str) -> str:
    return value.replace("'", "''")


def _parameters(replay: Replay) -> list[Param]:
    parameters: dict[str, Any] = {}
    for name, value in replay.settings.items():
        parameters.setdefault(_name(name), Param(_name(name), str(value)[:_LONGEST_VALUE]))
    return list(parameters.values())
