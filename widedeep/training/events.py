"""The log events.jsonl: one object per logged step and per epoch, appended during training."""

import json
from pathlib import Path
from typing import Any

from widedeep.files import replacing_file, writing


class EventLog:
    """Appends to the log. On resume it first drops events after the checkpoint that training goes on from."""

    def __init__(self, path: Path, *, keep_until_step: int) -> None:
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= keep_until_step]
        with replacing_file(path) as temporary:
            temporary.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
        self.path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def append(self, event: dict[str, Any]) -> None:
        """Write one event; it must hold `event` and `step`."""
        with writing(self.path):
            self._file.write(json.dumps(event, allow_nan=False) + "\n")
            self._file.flush()

    def close(self) -> None:
        self._file.close()


def _whole_lines(path: Path) -> list[str]:
    # A killed process may leave half a last line.
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
