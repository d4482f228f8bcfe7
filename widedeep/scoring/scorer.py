"""A finished run, loaded and checked: typed rows in, scores out."""

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import polars as pl
import torch

from widedeep.artefacts import read_json_artefact, require_shape
from widedeep.errors import ArtefactError, ColumnError, DataError
from widedeep.features.plan import FeaturePlan
from widedeep.files import check_readable, for_polars, replacing_file
from widedeep.kernels.choose import FEW_ROWS
from widedeep.kernels.lookups import Bag
from widedeep.lists import Lists
from widedeep.model.layout import InputLayout
from widedeep.model.network import Network, Undrawn, score
from widedeep.recipe.kinds import KINDS
from widedeep.recipe.load import load_run_recipe
from widedeep.recipe.schema import Recipe
from widedeep.runs import RunDirectory
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import ValueKind
from widedeep.source.forms import ColumnForm, Forms
from widedeep.table.typed import Typing
from widedeep.table.typed_columns import typed_columns
from widedeep.training.checkpoints import check_model, load_checkpoint, restore_model
from widedeep.training.device import BATCH_ROWS, choose_device, put_on

if TYPE_CHECKING:
    from widedeep.features.few_rows import RowEncoder
    from widedeep.memory.cross_memory import CrossMemory
    from widedeep.scoring.few_rows import RowScorer

ROWS_BY_DICTIONARY = 256
"""Up to this number of rows are encoded without a Polars query: one row 50 times as fast, so many still 6 times. The
two cross between 1,000 and 2,000 rows; a single `predict` of a file gains too little there to build dictionaries."""
CPU_BATCH_ROWS = FEW_ROWS
"""Rows scored at a time on the CPU: the caches hold what the layers hand on, and nothing waits for Numba."""
GOLDEN_TOLERANCE = 1e-5
"""How far a golden row's score may lie from the one it had when the run was finished."""


def input_layout(plan: FeaturePlan, recipe: Recipe) -> InputLayout:
    """The encoded columns that the model's kind reads: without a wide part, no buckets and no crosses."""
    with_wide = KINDS[recipe.model.kind].has_wide(crosses=bool(recipe.crosses))
    columns = tuple(c for c in plan.index_columns if with_wide or c.kind == "categorical")
    return InputLayout.of(columns, plan.numeric_columns)


def logit_correction(recipe: Recipe) -> float:
    """What brings a logit learnt on sampled negatives back to all of them: log(w), w being the share kept.

    q = p / (p + (1 - p) / w), He et al. 2014, Practical Lessons from Predicting Clicks on Ads, section 6.3.
    """
    return math.log(recipe.data.keep_negatives)


def recall_crosses(network: Network, run: RunDirectory) -> "CrossMemory | None":
    """Give the network the run's memory of crosses, if it has crosses from memory. Raises ArtefactError."""
    if network.cross_memory is None:
        return None
    from widedeep.memory.cross_memory import CrossMemory  # not at the top: few models have crosses from memory

    memory = CrossMemory.load(run.memory_path)
    if len(memory.value) != network.cross_memory.num_rows:
        raise ArtefactError(f"{run.memory_path}: the memory of other crosses than the plan's: the run is damaged")
    network.cross_memory.remember(torch.from_numpy(memory.value), torch.from_numpy(memory.support))
    return memory


class Scorer:
    """Scores typed frames with one model, in float32, whatever the device."""

    def __init__(self, recipe: Recipe, plan: FeaturePlan, network: Network, device: torch.device) -> None:
        self.recipe, self.plan, self.device = recipe, plan, device
        self.network = network.to(device).eval()
        self.layout = input_layout(plan, recipe)
        lists = (name for pair in self.layout.list_names for name in pair if name is not None)
        self._columns = [*(column.name for column in self.layout.index_columns), *self.layout.numeric_columns, *lists]
        self.batch_rows = CPU_BATCH_ROWS if device.type == "cpu" else BATCH_ROWS
        self.source_kinds: dict[str, Any] = {}
        self.forms: Forms | None = None
        """In which writing texts are encoded; None for runs older than forms, which take texts as they are."""
        self.base_dir = Path()
        """Where the recipe's relative paths start."""
        self.require_own: Callable[[str, str], None] | None = None
        """Raises ArtefactError if nothing outside the run may be read: `RunDirectory.require_own` of a loaded run."""

    @classmethod
    def load(cls, path: Path, *, trust: bool = False, device: Literal["auto", "cpu"] = "auto") -> "Scorer":
        """Load a finished run and score its golden rows again.

        With `trust`, files that its recipe names may be read, whoever made the run. Raises ArtefactError when the run
        is missing, unfinished, damaged, of a newer format, has changed since it was finished, or scores differently.
        """
        run = RunDirectory(path, trust)
        with run.telling_removal():
            manifest = run.require_done()
            run.check_scoring(manifest)
            loaded = load_run_recipe(run, manifest)
            recipe = loaded.recipe
            plan = FeaturePlan.load(run.plan_dir)
            _refuse_other_columns(recipe, plan, run)
            tensors, _ = load_checkpoint(run.best_path)
            layout, correction = input_layout(plan, recipe), logit_correction(recipe)
            # The meta device takes no memory, however large the recipe says that the model is.
            with torch.device("meta"), Undrawn():
                check_model(Network(layout, recipe.model, correction=correction), tensors, run.best_path)
            with Undrawn():
                network = Network(layout, recipe.model, correction=correction)
            recall_crosses(network, run)
            restore_model(network, tensors, run.best_path)
            scorer = cls(recipe, plan, network, choose_device(device))
            scorer.read_as(run)
            scorer.base_dir = loaded.base_dir
            scorer.require_own = partial(run.require_own, manifest)
            _check_golden_rows(scorer, run)
            return scorer

    def read_as(self, run: RunDirectory) -> None:
        """Take rows for what they were in the run's training: kinds of values, and forms of texts. Raises
        ArtefactError."""
        self.source_kinds = _read_texts(run.source_kinds_path, get_args(ValueKind))
        self.forms = forms_of_run(run)

    def typing(self, *, labelled: bool) -> Typing:
        """What types new rows as the rows that the run was trained on."""
        return Typing(self.recipe, require_label=labelled, trained_kinds=self.source_kinds, forms=self.forms)

    def score(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        """Scores [N] float32 of the typed rows, in order, and the columns that the model reads, encoded."""
        if 0 < len(frame) <= ROWS_BY_DICTIONARY and self.row_encoder is not None:
            typed = {name: frame[name].to_list() for name in self.plan.required_columns()}
            few = self.row_encoder.encode(typed, len(frame))
            if few is not None:
                return self.scores_of(few.indices, few.numerics, few.lists), self.row_encoder.frame(few)
        return self.score_by_query(frame)

    def score_by_query(self, frame: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
        """What `score` gives, by the Polars expressions whatever the number of rows: they take no dictionaries."""
        indices, numerics, lists, encoded = self.encode_by_query(frame)
        return self.scores_of(indices, numerics, lists), encoded

    def encode_by_query(self, frame: pl.DataFrame) -> tuple[np.ndarray, np.ndarray, list[Lists], pl.DataFrame]:
        """What `scores_of` takes of the typed rows, and the encoded columns."""
        encoded = self.plan.encode(frame, self._columns)
        # One matrix per block; a column missing here would be a bug, so nothing is checked twice.
        indices = _matrix(encoded, [column.name for column in self.layout.index_columns], np.int32)
        numerics = _matrix(encoded, self.layout.numeric_columns, np.float32)
        lists = [
            Lists.of(encoded[column.name], None if column.weights is None else encoded[column.weights])
            for column in self.layout.list_columns
        ]
        return indices, numerics, lists, encoded

    @cached_property
    def row_encoder(self) -> "RowEncoder | None":
        """What encodes few rows; None for vocabularies that are too large for dictionaries."""
        from widedeep.features.few_rows import RowEncoder  # not at the top: most tables have more rows

        layout = self.layout
        return RowEncoder.of(self.plan, layout.index_columns, layout.numeric_columns, layout.list_columns)

    @cached_property
    def row_scorer(self) -> "RowScorer | None":
        """What scores few raw rows; None where rows cannot be taken one by one (see there)."""
        from widedeep.scoring.few_rows import RowScorer  # not at the top: most tables have more rows

        return RowScorer.of(self, self.typing(labelled=False))

    def scores_of(self, indices: np.ndarray, numerics: np.ndarray, lists: Sequence[Lists]) -> np.ndarray:
        """Scores [N] float32 of encoded rows: indices [F, N] int32, numerics [D, N] float32, and columns of lists."""
        num_rows = indices.shape[1]
        if num_rows <= self.batch_rows:
            return self._scores_of_batch(indices, numerics, lists)
        scores = np.empty(num_rows, dtype=np.float32)
        for start in range(0, num_rows, self.batch_rows):
            part = slice(start, start + self.batch_rows)
            of_part = [column.slice(start, part.stop) for column in lists]
            scores[part] = self._scores_of_batch(indices[:, part], numerics[:, part], of_part)
        return scores

    @torch.inference_mode()
    def _scores_of_batch(self, indices: np.ndarray, numerics: np.ndarray, lists: Sequence[Lists]) -> np.ndarray:
        put = put_on(self.device)
        logit = self.network(put(indices), put(numerics), [Bag.of(column, put) for column in lists])
        scores: np.ndarray = score(self.recipe.data.label.kind, logit).cpu().numpy()
        return scores


def forms_of_run(run: RunDirectory) -> Forms | None:
    """In which writing a run's texts are encoded; None for a run older than forms. Raises ArtefactError."""
    if not run.forms_path.exists():
        return None
    of = _read_texts(run.forms_path, get_args(ColumnForm))
    missing = read_json_artefact(run.missing_path, "the run is damaged") if run.missing_path.exists() else None
    require_shape(missing, ({str: [str]}, None), run.missing_path)
    return Forms(of, missing)


def _read_texts(path: Path, known: Sequence[str]) -> dict[str, Any]:
    """A JSON object of texts, each one of `known`. Raises ArtefactError."""
    texts: dict[str, Any] = read_json_artefact(path, "the run is damaged")
    require_shape(texts, {str: str}, path)
    if other := [name for name, text in texts.items() if text not in known]:
        raise ArtefactError(
            f"{path}: {other[0][:40]} must be one of {', '.join(known)}, is {texts[other[0]][:40]!r}: the run is "
            "damaged"
        )
    return texts


def _refuse_other_columns(recipe: Recipe, plan: FeaturePlan, run: RunDirectory) -> None:
    """Raise ArtefactError if the plan encodes columns that the recipe does not make."""
    try:
        made = {column.name for column in typed_columns(recipe)}
    except ColumnError as error:
        raise ArtefactError(f"{run.recipe_path}: {error}: the run is damaged") from error
    if lacking := [column for column in plan.required_columns() if column not in made]:
        raise ArtefactError(
            f"{run.plan_dir / 'plan.json'}: it encodes {lacking[0]!r}, of which {run.recipe_path.name} says nothing: "
            "restore both from a copy or train again"
        )


# --------------------------------------------------------------------------------------------------------- golden rows

# Columns of the file. User's columns are fields of the first two, so that no name can clash with these.
_RAW, _TYPED, _SCORE = "raw", "typed", "score"
_FAULTS = (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException)


def write_golden_rows(scorer: Scorer, run: RunDirectory, raw: pl.DataFrame) -> None:
    """Save rows as they were read, as they were typed and with their scores, for `Scorer.load` to check.

    `raw` holds at least the columns that the model reads, those of side tables joined to them.
    """
    typing = scorer.typing(labelled=False)
    raw = raw.select(typing.needed)
    typed = typing.apply(_block(raw, run)).select(scorer.plan.required_columns())
    scores, _ = scorer.score_by_query(typed)
    golden = pl.DataFrame([raw.to_struct(_RAW), typed.to_struct(_TYPED), pl.Series(_SCORE, scores)])
    with replacing_file(run.golden_path) as temporary, temporary.open("wb") as file:
        golden.write_parquet(file)


def golden_raw_rows(run: RunDirectory) -> pl.DataFrame | None:
    """The golden rows of a run that was loaded, as they were read; None for a run that keeps none."""
    if not run.golden_path.exists():
        return None
    golden = pl.read_parquet(for_polars(run.golden_path), glob=False)
    return golden[_RAW].struct.unnest() if isinstance(golden.schema.get(_RAW), pl.Struct) else None


def _block(raw: pl.DataFrame, run: RunDirectory) -> RawBlock:
    return RawBlock(raw, str(run.golden_path), 0, 0)


def _check_golden_rows(scorer: Scorer, run: RunDirectory) -> None:
    path = run.golden_path
    if not scorer.recipe.evaluation.golden_rows and not path.exists():
        return
    check_readable(path)
    try:
        golden = pl.read_parquet(for_polars(path), glob=False)
    except _FAULTS as error:
        raise ArtefactError(f"{path}: cannot read the golden rows: the run is damaged") from error
    raw, typed = None, golden
    if isinstance(golden.schema.get(_TYPED), pl.Struct) and isinstance(golden.schema.get(_RAW), pl.Struct):
        raw, typed = golden[_RAW].struct.unnest(), golden[_TYPED].struct.unnest()  # else a run of format 1 or 2
    held, types = typed.schema, scorer.plan.required_types()
    if not golden.height or any(held.get(name) != types[name] for name in scorer.plan.required_columns()):
        raise ArtefactError(f"{path}: it has no rows, or not the columns that the plan encodes: the run is damaged")
    if golden.schema.get(_SCORE) not in (pl.Float32, pl.Float64) or golden[_SCORE].null_count():
        raise ArtefactError(f"{path}: the golden rows have no scores: the run is damaged")
    if raw is not None:
        _check_reading(scorer, run, raw, typed)
    scores, _ = scorer.score_by_query(typed)  # whoever scores many rows needs no dictionaries
    differences = np.abs(scores - golden[_SCORE].to_numpy())
    worst = int(differences.argmax())
    if not differences[worst] <= GOLDEN_TOLERANCE * max(1.0, abs(float(golden[_SCORE][worst]))):
        raise ArtefactError(
            f"{path}: row {worst + 1} scored {golden[_SCORE][worst]:.6g} when the run was finished and "
            f"scores {scores[worst]:.6g} now: the weights, the plan or a library changed; train again"
        )


def _check_reading(scorer: Scorer, run: RunDirectory, raw: pl.DataFrame, typed: pl.DataFrame) -> None:
    """Raise ArtefactError if the raw rows are typed otherwise than when the run was finished."""
    path, typing = run.golden_path, scorer.typing(labelled=False)
    held = set(raw.columns)
    if lacking := [name for name in typing.needed if name not in held]:
        raise ArtefactError(f"{path}: the golden rows lack the column {lacking[0]!r}: the run is damaged")
    try:
        again = typing.apply(_block(raw, run))
    except (DataError, *_FAULTS) as error:
        raise ArtefactError(f"{path}: the golden rows are no longer read ({error}): the run is damaged") from error
    for column in typed:
        name = column.name
        if column.dtype == again[name].dtype and column.equals(again[name], null_equal=True):
            continue
        for row, (before, now) in enumerate(zip(column, again[name], strict=True), start=1):
            if not _equal(before, now):
                raise ArtefactError(
                    f"{path}: row {row}, column {name!r}, was read as {_told(before)} when the run was finished and is "
                    f"read as {_told(now)} now: the recipe or a library changed; train again"
                )


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, pl.Series) and isinstance(other, pl.Series):
        return value.equals(other, null_equal=True)
    if isinstance(value, float) and isinstance(other, float):
        return math.isclose(value, other, rel_tol=1e-12)
    return type(value) is type(other) and bool(value == other)


def _told(value: Any) -> str:
    return "missing" if value is None else repr(value.to_list() if isinstance(value, pl.Series) else value)[:60]


def _matrix(frame: pl.DataFrame, names: Sequence[str], dtype: type[np.generic]) -> np.ndarray:
    matrix = np.empty((len(names), len(frame)), dtype=dtype)
    for position, name in enumerate(names):
        matrix[position] = frame[name].to_numpy()
    return matrix
