"""A trial as it is trained: a child process that runs `widedeep train`, and the run that it writes."""

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from widedeep.errors import TrainingError
from widedeep.recipe.sweep_space import written
from widedeep.runs import RUNS, RunDirectory
from widedeep.search.starter import Process, Starter, execute

_ERROR = "widedeep: error: "
_BUG = "widedeep: this is a bug"


class TrialProcess:
    """A training under way. It ends with this process, however that ends."""

    def __init__(
        self,
        recipe: Path,
        name: str,
        settings: Mapping[str, Any],
        work_dir: Path,
        cores: Sequence[int] | None,
        starter: Starter | None = None,
    ) -> None:
        """Start to train the recipe, whose runs go to `runs/<name>`, with `settings`, on these cores (None: on all).

        starter: what starts it soon; None: it is a process that imports its libraries itself.
        """
        sets = [f"{setting}={written(value)}" for setting, value in settings.items()]
        words = ["train", str(recipe), "--work", str(work_dir), *(word for text in sets for word in ("--set", text))]
        # A trial that was killed goes on where it was, and of equal ones there is one run.
        self._words = [*words, "--resume", "--wait", "--quiet", "--json"]
        self._folder = work_dir / RUNS / name
        self._known: set[str] = set()
        self._run: RunDirectory | None = None
        self._reported, self._read_bytes = 0, -1
        self.began = time.monotonic()
        self.pruned = False
        named = "all" if cores is None else ",".join(map(str, cores))
        try:
            # Files, as nobody reads a pipe meanwhile.
            self._out, self._err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115
            start = execute if starter is None else starter.start
            self._process: Process = start(self._words, named, self._out, self._err)
        except OSError as error:
            raise TrainingError(
                f"cannot start a trial: {error.strerror or error}; start fewer workers, or see that the "
                "folder for temporary files can be written"
            ) from error

    def new_epochs(self) -> Iterator[tuple[int, Mapping[str, float | None]]]:
        """The epochs that have ended since this was asked last: number and metrics of the valid rows."""
        run = self.run()
        if run is None:
            return
        content = b""
        with suppress(OSError):
            if run.events_path.stat().st_size == self._read_bytes:
                return
            content = run.events_path.read_bytes()
        self._read_bytes = len(content)
        for line in content.split(b"\n")[:-1]:
            try:
                event = json.loads(line)
                if event["event"] != "epoch" or event["epoch"] <= self._reported:
                    continue
                epoch, valid = int(event["epoch"]), dict(event["valid"])
            except (ValueError, KeyError, TypeError):
                return  # of a run that goes on, and cuts this off
            self._reported = epoch
            yield epoch, valid

    @property
    def epochs(self) -> int:
        """Epochs that have ended."""
        return self._reported

    def run(self) -> RunDirectory | None:
        """The run that it writes, once there is one: the last whose command line is this one."""
        # It is asked ten times a second, and there may be thousands of runs: what was looked at once is only listed.
        names: list[str] = []
        with suppress(OSError):
            names = os.listdir(self._folder)
        for name in sorted(set(names) - self._known):
            run = RunDirectory(self._folder / name)
            try:
                is_own = json.loads(run.manifest_path.read_bytes())["argv"][1:] == self._words
            except (OSError, ValueError, KeyError, TypeError):
                continue
            self._known.add(name)
            if is_own and not run.path.is_symlink() and (self._run is None or name > self._run.path.name):
                self._run = run
        return self._run

    def prune(self) -> None:
        """Ask it to end: it keeps a checkpoint."""
        self.pruned = True
        self.stop()

    def stop(self) -> None:
        """Ask it to end, also if it was stopped (SIGSTOP)."""
        for number in (signal.SIGTERM, signal.SIGCONT):
            self._process.send_signal(number)

    def code(self) -> int | None:
        """Its exit code as a shell tells it (128 and more: a signal ended it); None while it trains."""
        code = self._process.poll()
        return code if code is None or code >= 0 else 128 - code

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def result(self) -> dict[str, Any]:
        """The object that it printed. Raises ValueError if there is none."""
        self._out.seek(0)
        result: dict[str, Any] = json.loads(self._out.read())
        return result

    def told(self) -> str:
        """What it said last on stderr, by which it tells why it failed."""
        self._err.seek(0)
        lines = self._err.read().decode(errors="replace").strip().split("\n")
        errors = [line.removeprefix(_ERROR) for line in lines if line.startswith(_ERROR)]
        code = self.code() or 0
        if not errors and code > 128:
            with suppress(ValueError):
                return f"ended by signal {code - 128} ({signal.Signals(code - 128).name})"
        # A traceback ends before the line that calls it a bug.
        bug = [place for place, line in enumerate(lines) if line.startswith(_BUG)]
        return errors[0] if errors else lines[max(bug[0] - 1, 0)] if bug else lines[-1]
