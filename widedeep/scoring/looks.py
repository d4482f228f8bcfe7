"""What rows looked like, as files keep it: the run's own (`reference.json`), and those of an earlier `--report`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from widedeep.artefacts import read_json_artefact, require_shape
from widedeep.errors import ArtefactError, UsageError
from widedeep.features.plan import FeaturePlan
from widedeep.runs import RunDirectory
from widedeep.scoring.tally import FIELD_SHAPE, NUMBER_CELLS, SCORES_SHAPE, Binned, FieldTally, fields_of, num_bins

LOOKS_FORMAT = 1
"""Format version of `reference.json` and of reports; those of a newer one are refused."""
_LOOK_SHAPE = {"fields": {str: FIELD_SHAPE}, "scores": (SCORES_SHAPE, None)}
_REFERENCE_SHAPE = {"format": int, "train": _LOOK_SHAPE, "valid": (_LOOK_SHAPE, None), "expected_unseen": {str: float}}
_REPORT_SHAPE = {"format": int, "plan": str, "digest": str, "rows": int, **_LOOK_SHAPE}
_TEXT_OR_END = re.compile(r'("(?:[^"\\]|\\.)*")|\}\},(?=")')
"""A whole text, which may hold what looks like an end, or the end of a field that others follow."""


@dataclass(frozen=True)
class Look:
    """What some rows looked like: counts by field, and their scores by cell where they were scored."""

    fields: Mapping[str, FieldTally]
    scores: Binned | None

    @classmethod
    def of_json(cls, content: Mapping[str, Any], plan: FeaturePlan, path: Path) -> "Look":
        """Read the counts of all fields of the plan. Raises ArtefactError."""
        try:
            fields = {
                name: FieldTally.of_json(content["fields"][name], num_bins(is_number=is_number))
                for name, is_number in fields_of(plan).items()
            }
            scores = content["scores"]
            return cls(fields, None if scores is None else Binned.of_json(scores["binned"], NUMBER_CELLS))
        except (KeyError, ValueError, OverflowError) as error:
            raise ArtefactError(f"{path}: no counts of this run's fields ({error}): it is damaged") from error


@dataclass(frozen=True)
class Reference:
    """What a run keeps of its own rows."""

    train: Look
    usual: Look
    """What new rows are held against: the valid rows, the train rows if there are none."""
    scored: Mapping[str, Any] | None
    """Rows, mean and deviation of the valid rows' scores."""

    @classmethod
    def read(cls, run: Path, plan: FeaturePlan) -> "Reference | None":
        """The reference of the run whose plan it is; None for a run of an older version. Raises ArtefactError."""
        path = RunDirectory(run).reference_path
        if not path.exists():
            return None
        content = _read(path, "the run is damaged", _REFERENCE_SHAPE)
        train = Look.of_json(content["train"], plan, path)
        if content["valid"] is None:
            for name, share in content["expected_unseen"].items():
                # Without valid rows it is estimated how many values to come are new.
                if name in train.fields and 0.0 <= share <= 1.0:
                    train.fields[name].unseen = max(train.fields[name].unseen, int(share * train.fields[name].rows))
            return cls(train, train, None)
        scores = content["valid"]["scores"]
        scored = scores and {name: scores[name] for name in ("rows", "mean", "deviation")}
        return cls(train, Look.of_json(content["valid"], plan, path), scored)


@dataclass(frozen=True)
class EarlierReport:
    """What `predict --report` wrote of other rows."""

    look: Look
    digest: str
    """Of the rows' scores."""
    rows: int
    is_same_plan: bool
    """Whether its bins hold the same values."""

    @classmethod
    def read(cls, path: Path, plan: FeaturePlan) -> "EarlierReport":
        """Read a report, of another plan too, for the fields that `plan` has. Raises UsageError, ArtefactError."""
        if not path.exists():
            raise UsageError(f"--against {path}: there is no such report: `predict … --report FILE.json` writes one")
        content = _read(path, "no report of `predict`", _REPORT_SHAPE)
        is_same_plan = content["plan"] == plan.digest
        if not is_same_plan:
            known = fields_of(plan)
            empty = {"rows": 0, "bins": [], "counts": []}
            named = {name: {**fields, "binned": empty} for name, fields in content["fields"].items() if name in known}
            absent = {"rows": 0, "missing": 0, "unseen": 0, "binned": empty}
            content = {**content, "fields": {name: named.get(name, absent) for name in known}}
        return cls(Look.of_json(content, plan, path), content["digest"], content["rows"], is_same_plan)


def compact_json(content: Mapping[str, Any]) -> str:
    """Strict JSON with a line for each field: thousands of counts would else take a line each."""
    text = json.dumps(content, allow_nan=False, separators=(",", ":"))
    return _TEXT_OR_END.sub(lambda match: match[1] or f"{match[0]}\n", text) + "\n"


def _read(path: Path, why: str, shape: Any) -> Any:
    content = read_json_artefact(path, why)
    require_shape(content, {"format": int}, path)
    if content["format"] > LOOKS_FORMAT:
        raise ArtefactError(f"{path}: written by a newer widedeep (format {content['format']}): upgrade to read it")
    require_shape(content, shape, path)
    return content
