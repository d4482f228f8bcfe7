"""What a recipe may say: one frozen model per section, unknown keys refused, a docstring under every setting."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Base of every section: immutable, airtight, documented by the attribute docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


def _as_list(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _as_scalar_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) or value is None else (value,)


Paths = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]
Scalar = bool | int | float | str
Scalars = Annotated[tuple[Scalar, ...], BeforeValidator(_as_scalar_list), Field(min_length=1)]
ColumnName = Annotated[str, Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


# ---------------------------------------------------------------------------------------------------------- data


class FormatSettings(Settings):
    """How the bytes of the input files are read. Everything but `kind` concerns delimited text."""

    kind: Literal["auto", "csv", "parquet"] = "auto"
    """`auto` goes by the file's ending: .parquet/.pq are Parquet, everything else is delimited text; .gz and .zst may follow."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values; `\\t` for a tab. A file ending in .tsv still needs it said."""
    header: bool = True
    """Whether the first line that is not skipped names the columns."""
    columns: tuple[ColumnName, ...] | None = None
    """The columns' names, in order, for a file without a header."""
    skip_lines: Annotated[int, Field(ge=0)] = 0
    """Lines to drop at the top of every file, before the header."""
    comment: Annotated[str, Field(min_length=1)] | None = None
    """Lines that start with this text are dropped."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] | None = '"'
    """The character around a value that holds separators or line breaks; null for none."""
    trim: bool = True
    """Blanks around a value are dropped."""
    missing: tuple[str, ...] = ("",)
    """Texts that stand for a missing value (compared after trimming). In a numeric column an empty text is always missing."""

    @model_validator(mode="after")
    def _names_when_no_header(self) -> "FormatSettings":
        if not self.header and self.columns is None:
            raise ValueError("a file without a header needs `columns`, the names in order")
        if self.header and self.columns is not None:
            raise ValueError("`columns` names the columns of a file without a header; set `header: false` or drop it")
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise ValueError("`columns` names a column twice")
        return self


class LabelSettings(Settings):
    """What is predicted."""

    column: ColumnName
    """The column that holds the label."""
    kind: Literal["binary", "regression"] = "binary"
    """`binary` is trained on logistic loss, `regression` (a number) on squared error."""
    positive: Scalars | None = None
    """The values that count as a positive; without it 0/1 and true/false are understood."""
    negative: Scalars | None = None
    """The values that count as a negative; without it, every value that is not in `positive`."""

    @model_validator(mode="after")
    def _values_fit_the_kind(self) -> "LabelSettings":
        if self.kind == "regression" and (self.positive is not None or self.negative is not None):
            raise ValueError("a regression label takes no `positive` or `negative` values")
        if self.negative is not None and self.positive is None:
            raise ValueError("`negative` needs `positive` beside it")
        if self.positive is not None and self.negative is not None and set(self.positive) & set(self.negative):
            raise ValueError("a value stands in both `positive` and `negative`")
        return self


class TimeSettings(Settings):
    """The column that says when a row happened."""

    column: ColumnName
    """The column that holds the time."""
    format: str | None = None
    """strptime pattern such as `%Y-%m-%d %H:%M`; without it a number (epoch) or ISO 8601 text is expected."""


class _DrawnSplit(Settings):
    """Shares of the rows, drawn from train."""

    valid: Fraction = 0.1
    """Share of the rows held out to choose by. 0 where `data.valid` names files."""
    test: Fraction = 0.1
    """Share of the rows held out to report on. 0 where `data.test` names files."""

    @model_validator(mode="after")
    def _leaves_train_rows(self) -> "_DrawnSplit":
        if self.valid + self.test >= 1.0:
            raise ValueError(f"valid + test must leave train rows: {self.valid} + {self.test} >= 1")
        return self


class RandomSplit(_DrawnSplit):
    """Rows drawn at random; the draw depends on `seed` and the row's position only."""

    kind: Literal["random"] = "random"
    """Rows drawn at random."""
    seed: int = 0
    """Seed of the draw. Apart from the recipe's `seed`, so that seeds of training share one split."""


class TimeSplit(_DrawnSplit):
    """Ordered by `data.time`: the first rows train, the next are valid, the last are test. Rows of one instant stay together."""

    kind: Literal["time"]
    """By the order of `data.time`."""


class KeySplit(_DrawnSplit):
    """By the hash of a column's value, so that one user or one query is never on both sides."""

    kind: Literal["key"]
    """By the hash of a column's value."""
    key: ColumnName
    """The column whose equal values stay together, such as a user id."""
    seed: int = 0
    """Seed of the hash. Apart from the recipe's `seed`, so that seeds of training share one split."""


class ColumnSplit(Settings):
    """By the values of a column, such as folds. Rows with any other value train."""

    kind: Literal["column"]
    """By the values of a column."""
    column: ColumnName
    """The column whose values say where a row belongs."""
    valid: Scalars | None = None
    """Values whose rows are valid."""
    test: Scalars | None = None
    """Values whose rows are test."""


Split = Annotated[RandomSplit | TimeSplit | KeySplit | ColumnSplit, Field(discriminator="kind")]


class DataSettings(Settings):
    """Where the rows are and what they mean."""

    train: Paths
    """A file, a list of them, a glob or a directory; relative to the recipe's folder."""
    valid: Paths | None = None
    """Files of the valid split; without them valid rows are split off `train`."""
    test: Paths | None = None
    """Files of the test split; without them test rows are split off `train`."""
    format: FormatSettings = FormatSettings()
    label: LabelSettings
    weight: ColumnName | None = None
    """Column of row weights (finite, not negative)."""
    time: TimeSettings | None = None
    split: Split | None = None
    """How the parts without files of their own are taken from `train`; default: random, 10% each."""
    bad_numbers: Literal["error", "missing"] = "error"
    """What happens to a text, NaN or infinity in a numeric column: refused, or counted as missing."""

    @model_validator(mode="before")
    @classmethod
    def _label_may_be_a_name(cls, value: Any) -> Any:
        if isinstance(value, dict):
            value = dict(value)
            for key in ("label", "time"):
                if isinstance(value.get(key), str):
                    value[key] = {"column": value[key]}
            if isinstance(value.get("split"), dict) and "kind" not in value["split"]:
                value["split"] = {"kind": "random", **value["split"]}
        return value

    @model_validator(mode="after")
    def _split_fits(self) -> "DataSettings":
        if isinstance(self.split, TimeSplit) and self.time is None:
            raise ValueError("split by time needs `data.time`, the column to order by")
        for part in ("valid", "test"):
            if getattr(self, part) is None or self.split is None or part not in self.split.model_fields_set:
                continue
            if getattr(self.split, part):
                raise ValueError(f"`data.{part}` names files and `data.split.{part}` takes rows from train: keep one")
        return self


# ------------------------------------------------------------------------------------------------------ features


class NumericField(Settings):
    """A number, scaled into the deep part and the wide part."""

    column: ColumnName
    """The column that holds the number."""
    name: ColumnName | None = None
    """The field's name, where it is not the column's."""
    transform: Literal["standard", "log1p", "cdf", "none"] = "cdf"
    """`standard`: (x - mean) / deviation. `log1p`: sign(x)*log(1+|x|), then standard. `cdf`: quantile number / (quantiles - 1), as in the Wide & Deep paper."""
    quantiles: Annotated[int, Field(ge=2, le=10_000)] = 100
    """How many quantiles `cdf` uses."""
    missing_flag: bool = True
    """Whether a second input says that the value is missing (made only if train has missing values)."""
    buckets: Annotated[int, Field(ge=2, le=10_000)] | None = None
    """Cut into this many quantile buckets for the wide part and for crosses."""


class CategoricalField(Settings):
    """A value out of many: one wide weight and one embedding row each."""

    column: ColumnName
    """The column that holds the value."""
    name: ColumnName | None = None
    """The field's name, where it is not the column's."""
    min_count: Annotated[int, Field(ge=1)] = 2
    """Values seen less often in train share the unknown row."""
    max_size: Annotated[int, Field(ge=1, le=2**31 - 3)] | None = None
    """Keep only this many of the most frequent values."""
    buckets: Annotated[int, Field(ge=1, le=2**31 - 3)] | None = None
    """Hash into this many buckets instead of keeping a vocabulary."""
    embedding_dim: Annotated[int, Field(ge=1, le=4096)] | None = None
    """Width of this field's embedding, where it is not the model's rule."""

    @model_validator(mode="after")
    def _one_way_to_index(self) -> "CategoricalField":
        if self.buckets is not None and {"min_count", "max_size"} & self.model_fields_set:
            raise ValueError("`buckets` hashes; `min_count` and `max_size` belong to a vocabulary: keep one way")
        return self


def _column_entry(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


class FeatureSettings(Settings):
    """The model's inputs."""

    numeric: tuple[Annotated[NumericField, BeforeValidator(_column_entry)], ...] = ()
    """Fields that are numbers; a column's name alone takes every default."""
    categorical: tuple[Annotated[CategoricalField, BeforeValidator(_column_entry)], ...] = ()
    """Fields with a value out of many; a column's name alone takes every default."""


class CrossSettings(Settings):
    """An AND of two or more fields in the wide part."""

    fields: Annotated[tuple[ColumnName, ...], Field(min_length=2)]
    """Names of categorical fields or of numeric fields with `buckets`; their order is of no matter."""
    buckets: Annotated[int, Field(ge=1, le=2**31 - 3)] | None = None
    """Hash into this many buckets instead of keeping a vocabulary."""
    min_count: Annotated[int, Field(ge=1)] = 2
    """Combinations seen less often in train share the unknown row."""
    max_size: Annotated[int, Field(ge=1, le=2**31 - 3)] | None = None
    """Keep only this many of the most frequent combinations."""

    @model_validator(mode="after")
    def _fields_differ(self) -> "CrossSettings":
        if len(set(self.fields)) != len(self.fields):
            raise ValueError(f"a cross names a field twice: {', '.join(self.fields)}")
        if self.buckets is not None and {"min_count", "max_size"} & self.model_fields_set:
            raise ValueError("`buckets` hashes; `min_count` and `max_size` belong to a vocabulary: keep one way")
        return self


def _cross_entry(value: Any) -> Any:
    return {"fields": value} if isinstance(value, list | tuple) else value


# --------------------------------------------------------------------------------------------------------- model


class EmbeddingSettings(Settings):
    """Shared by all towers."""

    dim: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = "auto"
    """Width of every embedding; `auto` takes 4, 8, 16 or 32 by the fourth root of the field's cardinality."""


class DeepSettings(Settings):
    """The feed-forward tower over embeddings and numerics."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(min_length=1)] = (256, 128, 64)
    """Width of each hidden layer."""
    activation: Literal["relu", "gelu", "silu", "tanh"] = "relu"
    """What follows each hidden linear layer."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of each hidden layer's outputs dropped while training."""
    batch_norm: bool = False
    """Batch normalisation between each hidden linear layer and its activation."""


class ModelSettings(Settings):
    """Which parts make the logit."""

    kind: Literal["wide", "deep", "wide_deep"] = "wide_deep"
    """`wide` is a linear model over fields and crosses, `deep` embeddings and a tower, `wide_deep` the sum of both."""
    embeddings: EmbeddingSettings = EmbeddingSettings()
    deep: DeepSettings = DeepSettings()


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
    """alpha in FTRL-Proximal."""
    beta: Annotated[float, Field(ge=0)] = 1.0
    """FTRL-Proximal only: larger starts slower."""
    l1: Annotated[float, Field(ge=0)] = 0.0
    """FTRL-Proximal only: lambda 1, in units of summed gradients."""
    l2: Annotated[float, Field(ge=0)] = 0.0
    """FTRL-Proximal: lambda 2, in units of summed gradients. Others: (l2/2)*|w|^2 is added to the mean loss. The bias is never penalised."""

    @model_validator(mode="after")
    def _ftrl_settings_for_ftrl(self) -> "WideOptimizer":
        if self.optimizer != "ftrl" and {"beta", "l1"} & self.model_fields_set and (self.l1 != 0.0 or self.beta != 1.0):
            raise ValueError(f"`l1` and `beta` belong to ftrl; the optimizer is {self.optimizer}")
        _check_shrinkage(self.optimizer, self.learning_rate * self.l2)
        return self


class DeepOptimizer(Settings):
    """How embeddings and towers learn, on the gradient of the mean loss."""

    optimizer: Literal["adagrad", "adam", "adamw", "sgd"] = "adam"
    """`adamw` is adam with decoupled decay in place of L2."""
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

    metric: (
        Literal["auc", "log_loss", "normalized_entropy", "brier", "average_precision", "rmse", "mae", "r2"] | None
    ) = None
    """Default: auc for a binary label, rmse for regression."""
    patience: Annotated[int, Field(ge=1)] | None = 2
    """Epochs without improvement before stopping; null trains all epochs and still keeps the best."""


class Plateau(Settings):
    """Lower the learning rates (all but FTRL's, which falls per coordinate) when the valid metric stalls."""

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """The learning rates are multiplied by this."""
    patience: Annotated[int, Field(ge=0)] = 0
    """Epochs without improvement that are let pass first."""


class TrainingSettings(Settings):
    """The loop."""

    epochs: Annotated[int, Field(ge=1)] = 10
    """Passes over the train rows, at most."""
    batch_size: Annotated[int, Field(ge=1)] = 4096
    """Rows per step."""
    wide: WideOptimizer = WideOptimizer()
    deep: DeepOptimizer = DeepOptimizer()
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """The learning rates rise linearly from 0 over this many steps (FTRL's, which falls per coordinate, stays)."""
    plateau: Plateau | None = None
    early_stopping: EarlyStopping = EarlyStopping()
    dense_rows: Annotated[int, Field(ge=0)] = 100_000
    """Tables of more rows (all fields of one width together) are updated on the batch's rows only."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` takes cuda where there is a device, else the CPU."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """CPU threads; default: all. Equal bytes need an equal number."""
    checkpoint_seconds: Annotated[float, Field(ge=0)] = 60.0
    """A resumable checkpoint is written at least this often, and after each epoch."""


class EvaluationSettings(Settings):
    """What a finished run reports."""

    golden_rows: Annotated[int, Field(ge=0, le=1000)] = 8
    """Raw rows kept with their scores, re-scored whenever the run is loaded."""


class Recipe(Settings):
    """A whole experiment."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Names the run directory; defaults to the file's stem."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seeds weights, shuffling and dropout."""
    data: DataSettings
    features: FeatureSettings
    crosses: tuple[Annotated[CrossSettings, BeforeValidator(_cross_entry)], ...] = ()
    """ANDs of fields in the wide part; a list of names alone takes every default."""
    model: ModelSettings = ModelSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
