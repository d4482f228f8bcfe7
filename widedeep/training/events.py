"""The log events.jsonl: one object per logged step and per epoch, appended during training."""

import json
from pathlib import Path
from typing import Any

from widedeep.artefacts import refuse_constant
from widedeep.errors import ArtefactError
from widedeep.files import replacing_file, writing


class EventLog:
    """Appends to the log. On resume it first drops events after the checkpoint that training goes on from."""

    def __init__(self, path: Path, *, keep_until_step: int, keep_until_epoch: int) -> None:
        """Raises ArtefactError for a log that is there but cannot be read, WriteError."""
        # The last step of an epoch may be in the checkpoint while its end is not: it will be logged again.
        kept = [
            event
            for event in whole_events(path)
            if event["step"] <= keep_until_step and (event["event"] != "epoch" or event["epoch"] <= keep_until_epoch)
        ]
        with replacing_file(path) as temporary:
            temporary.write_text("".join(_line(event) for event in kept), encoding="utf-8")
        self.path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def append(self, event: dict[str, Any]) -> None:
        """Write one event; it must hold `event` and `step`, and that of an epoch its `epoch`. Raises WriteError."""
        with writing(self.path):
            self._file.write(_line(event))
            self._file.flush()

    def close(self) -> None:
        """Close the file. Raises WriteError if events that `append` could not write cannot be written now either."""
        with writing(self.path):
            self._file.close()


def _line(event: dict[str, Any]) -> str:
    return json.dumps(event, allow_nan=False) + "\n"


def whole_events(path: Path) -> list[dict[str, Any]]:
    """The events up to the first that is torn: a killed process, or a machine without power, leaves half of the last.

    An event stands once: what is logged again after it was resumed counts.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ArtefactError(f"{path}: cannot be read: {error.strerror or error}: the run is damaged") from error
    events: dict[tuple[str, int], dict[str, Any]] = {}
    for line in content.split(b"\n")[:-1]:
        try:
            event: dict[str, Any] = json.loads(line, parse_constant=refuse_constant)
            number = event["epoch"] if event["event"] == "epoch" else event["step"]
            events[event["event"], int(number)] = {**event, "step": int(event["step"])}
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            break
    return list(events.values())
