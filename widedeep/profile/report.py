"""What ingest found, as it is written to the stage's `report.json`."""

from dataclasses import dataclass
from typing import Any, Literal, Self

from widedeep.profile.columns import ColumnProfile
from widedeep.profile.value_tally import SharedGroups
from widedeep.source.canonical import ValueKind
from widedeep.table.typed_columns import Role


@dataclass(frozen=True)
class ColumnReport:
    """One column of the typed table."""

    name: str
    column: str
    role: Role
    missing: dict[str, int]
    """Rows without a value, per split; bad numbers are among them."""
    bad_numbers: int
    """Texts, NaN and infinities counted as missing, over all splits."""
    profile: ColumnProfile | None
    """None for the weights of a list's values. In JSON its fields stand beside the others."""

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, texts and numbers."""
        own = {**vars(self)}
        del own["profile"]
        return {**own, **(self.profile.to_json() if self.profile is not None else {})}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The report that `to_json` wrote."""
        own = {name: value[name] for name in ("name", "column", "role", "missing", "bad_numbers")}
        rest = {name: one for name, one in value.items() if name not in own}
        return cls(**own, profile=ColumnProfile.from_json(rest) if rest else None)


@dataclass(frozen=True)
class LabelReport:
    """The label of one split, rows counted alike whatever their weight."""

    mean: float
    positives: int | None
    """None for regression."""


@dataclass(frozen=True)
class Finding:
    """Something about the data that will probably hurt, or is worth knowing."""

    kind: Literal["leak", "shared_groups", "label_drift", "constant", "id_like", "drift", "new_values"]
    column: str
    """The source column."""
    message: str
    is_warning: bool = True
    """False for what is worth knowing only."""


@dataclass(frozen=True)
class IngestReport:
    """What ingest found."""

    rows: dict[str, int]
    sampled_rows: dict[str, int]
    """Rows that the columns' profiles were made of; where they are all the rows, the profiles are exact."""
    columns: tuple[ColumnReport, ...]
    source_kinds: dict[str, ValueKind]
    """What each source column holds; at scoring it must hold the same, or text."""
    label: dict[str, LabelReport]
    shared_groups: dict[str, SharedGroups]
    """Of valid and test, what they share with train; empty without `data.group`."""
    warnings: tuple[Finding, ...] = ()
    """The gravest first."""

    def to_json(self) -> dict[str, Any]:
        """As plain dicts, lists, texts and numbers."""
        # `asdict` copies each figure of each column, which takes seconds for thousands of columns.
        return {
            **vars(self),
            "columns": [column.to_json() for column in self.columns],
            "label": {split: vars(label) for split, label in self.label.items()},
            "shared_groups": {split: vars(shared) for split, shared in self.shared_groups.items()},
            "warnings": [vars(finding) for finding in self.warnings],
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """The report that `to_json` wrote."""
        return cls(
            rows=dict(value["rows"]),
            sampled_rows=dict(value["sampled_rows"]),
            columns=tuple(ColumnReport.from_json(column) for column in value["columns"]),
            source_kinds=dict(value["source_kinds"]),
            label={split: LabelReport(**label) for split, label in value["label"].items()},
            shared_groups={split: SharedGroups(**shared) for split, shared in value["shared_groups"].items()},
            warnings=tuple(Finding(**finding) for finding in value["warnings"]),
        )
