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

    @property
    def warnings(self) -> list[str]:
        return [message for kind, message in self.said if kind == "warning"]

    @property
    def notes(self) -> list[str]:
        return [message for kind, message in self.said if kind == "note"]
