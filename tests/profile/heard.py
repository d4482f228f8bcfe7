"""A reporter that keeps what it hears."""

from widedeep.reporting import Reporter


class Heard(Reporter):
    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        """(warning or note, message), in order."""

    def warn(self, message: str) -> None:
        self.said.append(("warning", message))

    def note(self, message: str) -> None:
        self.said.append(("note", message))
