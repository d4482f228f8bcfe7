"""The kinds of input files; what each `model.kind` is made of, by which loading, writing and building a model go."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FileKind = Literal["csv", "ndjson", "parquet", "arrow"]
"""What input files are: `data.format.kind` and `predict --input-format`."""

FIELD_MEASURES = ("missing", "unseen", "shift")
MEASURES = (*FIELD_MEASURES, "score")
"""What limits on scored rows are of: of every field, and of the scores."""


@dataclass(frozen=True)
class ModelKind:
    """The logit is the bias, the wide part where there is one, and the towers, summed."""

    wide: Literal["always", "with crosses", "never"]
    """`with crosses`: the published model has no linear part, and gets one only where the recipe lists crosses."""
    towers: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    """Sections of `model` that the towers read, beside `embeddings`, which every tower reads."""
    one_width: bool = False
    """A tower multiplies embeddings with each other: they all need the width `model.embeddings.dim`."""

    def has_wide(self, *, crosses: bool) -> bool:
        """Whether there is a wide part; `crosses` says whether the recipe lists any."""
        return self.wide == "always" or (self.wide == "with crosses" and crosses)

    def sections(self, *, crosses: bool) -> tuple[str, ...]:
        """The sections of a recipe that the kind takes, such as `model.deep`, and `crosses`."""
        with_wide = self.has_wide(crosses=crosses)
        model = (*(["wide"] if with_wide else []), *(["embeddings"] if self.towers else []), *self.settings)
        training = (*(["wide"] if with_wide else []), *(["deep"] if self.towers else []))
        return (
            *(["crosses"] if self.wide != "never" else []),
            *(f"model.{name}" for name in model),
            *(f"training.{name}" for name in training),
        )


KINDS: Mapping[str, ModelKind] = {
    "wide": ModelKind("always"),
    "deep": ModelKind("never", ("deep",), ("deep",)),
    "wide_deep": ModelKind("always", ("deep",), ("deep",)),
    "fm": ModelKind("always", ("fm",), one_width=True),
    "deepfm": ModelKind("always", ("fm", "deep"), ("deep",), one_width=True),
    "dcn": ModelKind("with crosses", ("cross_network", "deep"), ("deep", "cross_network")),
    "dcn_v2": ModelKind("with crosses", ("dcn_v2",), ("deep", "cross_network", "dcn_v2")),
    "finalmlp": ModelKind("with crosses", ("finalmlp",), ("deep", "finalmlp")),
    "finalnet": ModelKind("with crosses", ("finalnet",), ("deep", "finalnet")),
}
"""By `model.kind`. A kind is a row here; its towers are rows in `TOWERS` (widedeep/model/towers)."""
