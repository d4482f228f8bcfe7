"""The schema of a recipe: a frozen model per section, which refuses unknown keys, with a docstring under every setting.

`data.py` and `fields.py` hold the settings of data and of fields; everything can be imported from here.
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from widedeep.recipe.base import MOST_COUNT, MOST_NAME, ColumnName, Paths, Scalar, Scalars, Settings
from widedeep.recipe.data import (
    ColumnSplit,
    DataSettings,
    FormatSettings,
    KeySplit,
    LabelSettings,
    RandomSplit,
    SideTable,
    Split,
    TimeSettings,
    TimeSplit,
)
from widedeep.recipe.fields import (
    CategoricalField,
    CrossSettings,
    DatePart,
    DateTimeField,
    FeatureSettings,
    MultiValuedField,
    NumericField,
)

__all__ = [
    "CategoricalField",
    "ColumnName",
    "ColumnSplit",
    "CrossNetworkSettings",
    "CrossSettings",
    "DataSettings",
    "DatePart",
    "DateTimeField",
    "DcnV2Settings",
    "DeepOptimizer",
    "DeepSettings",
    "EarlyStopping",
    "EmbeddingSettings",
    "EvaluationSettings",
    "FeatureSettings",
    "FinalMlpSettings",
    "FinalNetSettings",
    "FormatSettings",
    "KeySplit",
    "LabelSettings",
    "LimitSettings",
    "ModelSettings",
    "MultiValuedField",
    "NumericField",
    "Paths",
    "Plateau",
    "RandomSplit",
    "Recipe",
    "Scalar",
    "Scalars",
    "ScoringSettings",
    "Settings",
    "SideTable",
    "Split",
    "SweepSettings",
    "TimeSettings",
    "TimeSplit",
    "TrackSettings",
    "Tracker",
    "TrainingSettings",
    "WideOptimizer",
    "WideSettings",
]

# --------------------------------------------------------------------------------------------------------- model


class EmbeddingSettings(Settings):
    """The embeddings, which all towers share."""

    dim: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    """Width of every embedding; `auto` takes 4, 8, 16 or 32 by the fourth root of the field's cardinality."""


class DeepSettings(Settings):
    """The feed-forward tower over embeddings and numerics."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1)] = (256, 128, 64)
    """Width of each hidden layer."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """The function after each hidden linear layer."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each hidden layer's outputs dropped while training."""
    batch_norm: bool = False
    """Batch normalisation between each hidden linear layer and its activation."""


class WideSettings(Settings):
    """The linear part over fields and crosses."""

    crosses: Literal["out_of_fold", "gradient"] = "out_of_fold"
    """`out_of_fold`: a cross's value in a row is fitted on the other folds' rows, so that training looks like serving.
    `gradient`: a weight for each combination, learnt like those of the fields."""
    folds: Annotated[int, Field(ge=2, le=64)] = 10
    """Number of folds of the train rows. Each fold is trained with cross values that are fitted on the others."""
    memory_half_life: Annotated[float, Field(gt=0)] | None = None
    """Only for `train --from`: number of runs after which the rows of a run count half in what crosses out of fold
    remember. Null: old rows count as new ones."""


class CrossNetworkSettings(Settings):
    """The cross network of Deep & Cross, in the kinds `dcn` and `dcn_v2`."""

    layers: Annotated[int, Field(ge=1, le=64)] = 3
    """Number of cross layers: l layers reach interactions of l + 1 inputs."""


class DcnV2Settings(Settings):
    """What DCN-V2 adds to the cross network: a matrix in place of a vector."""

    structure: Literal["parallel", "stacked"] = "parallel"
    """`parallel`: cross network and `model.deep` side by side; `stacked`: `model.deep` reads what the cross network
    gives."""
    rank: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Null: a full matrix in each layer. A number: matrices of this rank, of which a gate mixes several (`experts`)."""
    experts: Annotated[int, Field(ge=1, le=256)] = 4
    """Number of low-rank matrices in each layer; only with `rank`."""

    @model_validator(mode="after")
    def _experts_have_a_rank(self) -> "DcnV2Settings":
        if self.rank is None and self.experts != type(self).model_fields["experts"].default:
            raise ValueError(
                "`experts` are matrices of low rank: give `rank` a number, such as 32, or take `experts` out"
            )
        return self


class FinalMlpSettings(Settings):
    """Two feed-forward networks side by side: the first is `model.deep`."""

    second: DeepSettings | None = None
    """The second network; null for one like the first."""
    heads: Annotated[int, Field(ge=1, le=1024)] = 1
    """Parts that the two outputs are cut into before they are multiplied; must divide the last width of both
    networks."""
    gate_hidden: tuple[Annotated[int, Field(ge=1, le=65_536)], ...] = (64,)
    """Widths of the hidden layers of a gate that has a context."""
    first_context: tuple[str, ...] = ()
    """Fields whose embeddings decide what the first network sees of its inputs, such as the user's. Without any,
    the choice is the same in every row."""
    second_context: tuple[str, ...] = ()
    """Likewise for the second network, such as the item's."""

    @model_validator(mode="after")
    def _gates_have_a_context(self) -> "FinalMlpSettings":
        usual = type(self).model_fields["gate_hidden"].default
        if self.gate_hidden != usual and not (self.first_context or self.second_context):
            raise ValueError(
                "`gate_hidden` are layers of a gate that has a context: name fields in `first_context` or "
                "`second_context`, or take `gate_hidden` out"
            )
        return self


class FinalNetSettings(Settings):
    """Factorized interaction layers, which multiply, in place of the linear ones of `model.deep`.

    The published settings normalise each layer (`model.deep.batch_norm: true`), which keeps products from growing.
    """

    blocks: Annotated[int, Field(ge=1, le=2)] = 2
    """Number of blocks. With 2, the logit is their mean, and each block also learns from that mean."""
    second: DeepSettings | None = None
    """Layers of the second block; null for those of `model.deep`."""
    residual: Literal["concat", "sum"] = "concat"
    """How a layer joins its linear half and its products: `concat` has as many weights as a linear layer, `sum` twice
    that."""

    @model_validator(mode="after")
    def _second_is_a_block(self) -> "FinalNetSettings":
        if self.blocks == 1 and self.second is not None:
            raise ValueError("`second` says what the second block is made of: give `blocks` 2, or take `second` out")
        return self


class ModelSettings(Settings):
    """The kind of model, and the settings of its parts."""

    kind: Literal["wide", "deep", "wide_deep", "fm", "deepfm", "dcn", "dcn_v2", "finalmlp", "finalnet"] = "wide_deep"
    """`wide` is a linear model over fields and crosses, `deep` embeddings and a tower, `wide_deep` the sum of both.
    `fm` and `deepfm` have the wide part too; `dcn`, `dcn_v2`, `finalmlp` and `finalnet` have it where the recipe lists
    crosses."""
    wide: WideSettings = WideSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    deep: DeepSettings = DeepSettings()
    cross_network: CrossNetworkSettings = CrossNetworkSettings()
    dcn_v2: DcnV2Settings = DcnV2Settings()
    finalmlp: FinalMlpSettings = FinalMlpSettings()
    finalnet: FinalNetSettings = FinalNetSettings()


# ------------------------------------------------------------------------------------------------------ training


def _check_shrinkage(optimizer: str, per_step: float) -> None:
    if optimizer in ("sgd", "adamw") and per_step >= 1.0:
        raise ValueError(
            f"learning_rate * l2 is the share of a weight that each step takes off; it must be below 1, is {per_step:g}"
        )


class WideOptimizer(Settings):
    """How the wide weights learn. FTRL receives the sum of the per-example gradients, the others their mean."""

    optimizer: Literal["ftrl", "adagrad", "adam", "sgd"] = "ftrl"
    """`ftrl` is FTRL-Proximal per coordinate, which `l1` makes sparse."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step size; alpha in FTRL-Proximal."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """FTRL-Proximal only: the larger, the slower the start."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """FTRL-Proximal only: lambda 1, in units of summed gradients."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """FTRL-Proximal: lambda 2, in units of summed gradients. Others: (l2/2)*|w|^2 is added to the mean loss. The bias
    is never penalised."""

    @model_validator(mode="after")
    def _ftrl_settings_for_ftrl(self) -> "WideOptimizer":
        if self.optimizer != "ftrl" and {"beta", "l1"} & self.model_fields_set and (self.l1 != 0.0 or self.beta != 1.0):
            raise ValueError(f"`l1` and `beta` belong to ftrl; the optimizer is {self.optimizer}")
        _check_shrinkage(self.optimizer, self.learning_rate * self.l2)
        return self


class DeepOptimizer(Settings):
    """How embeddings and towers learn, on the gradient of the mean loss."""

    optimizer: Literal["adagrad", "rowwise_adagrad", "adam", "adamw", "sgd"] = "adam"
    """`adamw` is adam with decoupled decay in place of L2; `rowwise_adagrad` keeps one number a row of an embedding
    table (towers: `adagrad`)."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Step size, reached after the warm-up."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """On tower weights: (l2/2)*|w|^2 added to the mean loss (adamw: decoupled decay)."""
    embedding_l2: Annotated[float, Field(ge=0)] = 0.0
    """The same on embeddings; on tables above `dense_rows` it acts on the batch's rows (exact for sgd and adamw)."""

    @model_validator(mode="after")
    def _shrinkage_leaves_something(self) -> "DeepOptimizer":
        _check_shrinkage(self.optimizer, self.learning_rate * max(self.l2, self.embedding_l2))
        return self


class EarlyStopping(Settings):
    """Stop when the valid metric no longer improves; the best checkpoint is kept."""

    metric: str = "auto"
    """`auto` is log_loss for a binary label (every row counts, where AUC rests on few positives) and rmse for
    regression. Also auc, normalized_entropy, brier, average_precision; mae, r2; with `data.group` gauc, mrr, map@K,
    ndcg@K, hit_rate@K. `plateau` follows it too."""
    patience: Annotated[int, Field(ge=1, le=MOST_COUNT)] | None = 2
    """Epochs without improvement before stopping; null trains all epochs and still keeps the best."""


class Plateau(Settings):
    """Lower the learning rates (all but FTRL's, which falls per coordinate) when the valid metric of `early_stopping`
    stalls.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rates are multiplied by this."""
    patience: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    """Epochs without improvement to wait before the rates are lowered."""


class Eviction(Settings):
    """Only for `train --from`: what a model drops, so that a chain of runs does not grow for ever."""

    unseen_runs: Annotated[int, Field(ge=1, le=1_000_000)]
    """A value of a vocabulary (of fields and of crosses) is dropped once so many runs in a row had no train row with
    it: its rows in all tables with the state of their optimizers, what crosses remember of it, and its count. It then
    scores as an unknown value, and is a new one if it comes back."""


Tracker = Literal["tensorboard", "mlflow", "wandb"]


class TrackSettings(Settings):
    """What shows a training while it goes on: at the end of each epoch the run so far is written there, as
    `widedeep track` writes it, by a process of its own. Whatever fails there is a warning, and training goes on."""

    to: Tracker
    """TensorBoard, MLflow, or Weights & Biases, which are written offline."""
    place: Annotated[str, Field(min_length=1)]
    """A folder, which starts from the work directory if it is relative, as `runs` does; for MLflow also `http://` or
    `https://` of a server."""

    @model_validator(mode="after")
    def _takes_the_place(self) -> "TrackSettings":
        scheme, is_uri, rest = self.place.partition("://")
        if "@" in rest.partition("/")[0]:
            raise ValueError(
                "`place` holds a user or password, which other users would see: leave it out"
                + " and set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD" * (self.to == "mlflow")
            )
        if is_uri and (self.to != "mlflow" or scheme not in ("http", "https") or not rest):
            takes = "a folder, or http:// and https:// of a server" if self.to == "mlflow" else "a folder"
            raise ValueError(f"`place` of {self.to} must be {takes}, is '{self.place}'")
        return self


def _as_sections(value: Any) -> Any:
    return (value,) if isinstance(value, dict) else value


class TrainingSettings(Settings):
    """How the model is trained."""

    epochs: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 10
    """Most passes over the train rows."""
    going_on_epochs: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 2
    """Most passes over the new rows of `train --from`, where that is fewer than `epochs`. The rows of a day are alike:
    valid rows among them speak for more passes, for which the rows of the next day pay."""
    evict: Eviction | None = None
    batch_size: Annotated[int, Field(ge=1, le=MOST_COUNT)] = 4096
    """Rows per step."""
    parts: Annotated[int, Field(ge=1, le=4096)] = 1
    """Parts that the rows of a step are cut into, whose losses and gradients are added up in order. Up to so many
    processes (`train --processes`) then give the same bytes as one."""
    timeout: Annotated[float, Field(ge=1.0, le=86_400.0)] = 300.0
    """Only with `parts`: seconds that a process waits for another one's share of a step before training fails."""
    wide: WideOptimizer = WideOptimizer()
    deep: DeepOptimizer = DeepOptimizer()
    warmup_steps: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    """The learning rates rise linearly from 0 over this many steps (FTRL's, which falls per coordinate, stays)."""
    plateau: Plateau | None = None
    early_stopping: EarlyStopping = EarlyStopping()
    dense_rows: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 100_000
    """Tables with more rows than this (all fields of one width together) are updated on the batch's rows only."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes cuda where there is a device, else the CPU."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """The type in which the layers multiply while they are trained; weights, optimizers, embeddings, the wide part, the
    loss and all scoring stay float32. `auto` takes bfloat16 where the processor gains by it (docs/training.md)."""
    threads: Annotated[int, Field(ge=1, le=1024)] | None = None
    """CPU threads; by default all, with `parts` 1 in each process. Two trainings give equal bytes only with the same
    number."""
    unknown_share: Annotated[float, Field(ge=0, lt=1)] | Literal["auto"] = "auto"
    """Share of the values that training shows as unknown, drawn anew each epoch, so that it learns what to say of new
    values. `auto` estimates for each field, from train rows, how many values will be new, and shows up to a twentieth
    of the known ones as unknown. A number is the share that is to be unknown, for every field with a vocabulary. With
    0, only values that are rare in train are unknown."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    """Most seconds between two checkpoints that training can resume from; there is one after each epoch too."""
    track: Annotated[tuple[TrackSettings, ...], BeforeValidator(_as_sections), Field(min_length=0)] = ()
    """Where the run is shown while it is trained: one tracker, or a list. No run and no stage depends on it."""

    @model_validator(mode="after")
    def _parts_have_rows(self) -> "TrainingSettings":
        if self.parts > 1 and self.batch_size < 2 * self.parts:
            raise ValueError(
                f"`parts`: each needs at least 2 rows of a step, and {self.batch_size:,} rows (`batch_size`) are cut "
                f"into {self.parts:,}: take fewer parts or larger batches"
            )
        if self.parts == 1 and self.timeout != type(self).model_fields["timeout"].default:
            raise ValueError("`timeout` is for several processes: give `parts` a number above 1, or take `timeout` out")
        return self


class EvaluationSettings(Settings):
    """What a finished run reports."""

    golden_rows: Annotated[int, Field(ge=0, le=1000)] = 8
    """Number of rows that are kept as they were read, with their scores: they are typed and scored again whenever the
    run is loaded."""
    cutoffs: Annotated[tuple[Annotated[int, Field(ge=1, le=MOST_COUNT)], ...], Field(min_length=1)] = (10,)
    """Each K of map@K, ndcg@K and hit_rate@K, the metrics that `data.group` adds."""


Limits = dict[str, Annotated[float, Field(ge=0, le=1)] | None]


class LimitSettings(Settings):
    """How far rows that `predict` scores may differ from the run's valid rows (without any: from its train rows).

    A limit is of a measure, in all fields, or of `FIELD.MEASURE`; null for none. `missing` and `unseen` are shares of
    the rows, over and above the share among the valid rows. `shift` is the Jensen-Shannon divergence of a field's
    values, from 0 (equal) to 1 (no value in common), and `score` that of the scores. Of fields made of a date or time,
    only a limit of their own judges the shift.
    """

    warn: Limits = Field(default_factory=lambda: dict(WARNING_LIMITS))
    """Past these `predict` warns, in one line. What is not named keeps its default."""
    refuse: Limits = Field(default_factory=lambda: dict(REFUSAL_LIMITS))
    """Past these it writes no scores and ends with exit code 7. What is not named keeps its default."""

    @field_validator("warn", mode="before")
    @classmethod
    def _with_usual_warnings(cls, limits: Any) -> Any:
        return WARNING_LIMITS | limits if isinstance(limits, dict) else limits

    @field_validator("refuse", mode="before")
    @classmethod
    def _with_usual_refusals(cls, limits: Any) -> Any:
        return REFUSAL_LIMITS | limits if isinstance(limits, dict) else limits


WARNING_LIMITS: Limits = {"missing": 0.05, "unseen": 0.05, "shift": 0.02, "score": 0.05}
REFUSAL_LIMITS: Limits = {"missing": 0.5, "unseen": 0.5, "shift": None, "score": None}
"""Rows of one day, one country or one user are shifted by their nature: they are told, and not refused."""


class ScoringSettings(Settings):
    """How new rows are scored."""

    limits: LimitSettings = LimitSettings()


def _readable(entry: Any) -> Any:
    from widedeep.recipe.sweep_space import read_entry  # not at the top: a run that is scored is not searched

    read_entry(entry)
    return entry


_RANGE_SCHEMA = {"type": "string", "pattern": r"^\s*(float|log|int|log_int)\s*\([^,()]+,[^,()]+\)\s*$"}
_SpaceEntry = Annotated[
    Any,
    AfterValidator(_readable),
    WithJsonSchema({"anyOf": [_RANGE_SCHEMA, {"type": "array", "items": {}, "minItems": 2, "uniqueItems": True}]}),
]


class SweepSettings(Settings):
    """What `widedeep sweep` searches. Every other command takes no notice of it, and no run or stage depends on it."""

    space: dict[str, _SpaceEntry] = Field(default_factory=dict)
    """Setting, such as `training.deep.learning_rate`, and what it is drawn from: `float(LOW, HIGH)`, `log(LOW, HIGH)`
    (each factor as likely as others), `int(LOW, HIGH)`, `log_int(LOW, HIGH)`, or a list of choices, which may be whole
    sections. Settings lie in `features`, `crosses`, `model` or `training`."""
    metric: str = "auto"
    """The valid metric that is made better; `auto` is that of `training.early_stopping`."""
    trials: Annotated[int, Field(ge=1, le=100_000)] = 20
    """Trials that are finished in the end: trained, or pruned."""
    seconds: Annotated[float, Field(gt=0)] | None = None
    """After so many seconds no further trial begins; null for no limit."""
    pruner: Literal["median", "none"] = "median"
    """`median` ends a trial whose best valid metric so far is worse than the median of earlier trials at that epoch,
    from the second epoch on and once five trials are trained."""


class Recipe(Settings):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=MOST_NAME)]
    """Names the folder of the runs, `runs/NAME`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seeds weights, shuffling and dropout."""
    data: DataSettings
    features: FeatureSettings
    crosses: tuple[CrossSettings, ...] = ()
    """Crosses: ANDs of fields in the wide part. A list of names alone takes every default."""
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    scoring: ScoringSettings = ScoringSettings()
    sweep: SweepSettings | None = None
