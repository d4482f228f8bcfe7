"""The `data` section: where the rows are, how they are read, joined and split, and what their columns mean."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from widedeep.recipe.base import MOST_COUNT, ColumnName, ColumnSettings, Fraction, Paths, Scalars, Settings
from widedeep.recipe.kinds import FileKind

LabelKind = Literal["binary", "regression"]


class FormatSettings(Settings):
    """How the bytes of the input files are read. Everything but `kind`, `trim`, `missing`, `binary` and `version`
    concerns delimited text."""

    kind: Literal["auto"] | FileKind = "auto"
    """`auto` goes by the file's ending: .parquet/.pq are Parquet, .arrow/.feather/.ipc Arrow IPC, .ndjson/.jsonl one
    JSON object a line, everything else is delimited text; .gz, .zst, .bz2, .xz and .zip (of one file) may follow.
    Where the first bytes are those of Parquet, Arrow, packed data or, in a file without an ending or a .csv, NDJSON,
    they are believed and not the ending."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    """How delimited text is encoded."""
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    """The character between two values; `\\t` for a tab. It must be set for a .tsv file too."""
    header: bool = True
    """Whether the first line (after skipped ones) names the columns."""
    columns: tuple[ColumnName, ...] | None = None
    """The columns' names, in order, for a file without a header."""
    skip_lines: Annotated[int, Field(ge=0, le=MOST_COUNT)] = 0
    """Lines to drop at the top of every file, before the header."""
    comment: Annotated[str, Field(min_length=1)] | None = None
    """Lines that start with this text are dropped."""
    quote: Annotated[str, Field(min_length=1, max_length=1)] | None = '"'
    """The character around a value that holds separators or line breaks; null for none."""
    escape: Literal["\\"] | None = None
    """`\\` where a quote within quotes has a backslash before it, as Spark writes it, and a backslash one more; null
    where it is doubled."""
    trim: bool = True
    """Whether blanks around a value are dropped."""
    missing: tuple[str, ...] = ("",)
    """Texts that stand for a missing value, once trimmed. One that is a number, a boolean, a date or a time stands for
    every value that is it, whatever stores it: `-999` for the -999 and -999.0 of a Parquet file, and for `-999.0` in a
    column of numbers of a CSV file or in a list, but `7` not for `007`. In a numeric column an empty text is always
    missing."""
    binary: Literal["text"] | None = None
    """`text` where columns of bytes are texts in UTF-8, as older versions of Impala, Hive and Spark store them in
    Parquet; null where they are bytes, of which no field can be made."""
    version: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    """The version of a Delta table, or the snapshot of an Iceberg table, to train on; default: the newest. New rows are
    read at their newest."""

    @model_validator(mode="after")
    def _names_when_no_header(self) -> "FormatSettings":
        if not self.header and self.columns is None:
            raise ValueError("a file without a header needs `columns`, the names in order")
        if self.header and self.columns is not None:
            raise ValueError("`columns` names the columns of a file without a header; set `header: false` or drop it")
        if self.columns is not None and len(set(self.columns)) != len(self.columns):
            raise ValueError("`columns` names a column twice")
        return self


class LabelSettings(ColumnSettings):
    """What is predicted."""

    column: ColumnName
    """The column that holds the label."""
    kind: LabelKind = "binary"
    """`binary` is trained on logistic loss, `regression` (a number) on squared error."""
    positive: Scalars | None = None
    """The values that count as positive; without it, 1 and true are positive, 0 and false negative."""
    negative: Scalars | None = None
    """The values that count as negative; without it, all values that are not in `positive`."""

    @model_validator(mode="after")
    def _values_fit_the_kind(self) -> "LabelSettings":
        if self.kind == "regression" and (self.positive is not None or self.negative is not None):
            raise ValueError("a regression label takes no `positive` or `negative` values")
        if self.negative is not None and self.positive is None:
            raise ValueError("`negative` needs `positive` beside it")
        if self.positive is not None and self.negative is not None and set(self.positive) & set(self.negative):
            raise ValueError("a value stands in both `positive` and `negative`")
        return self


class TimeSettings(ColumnSettings):
    """The column that says when a row happened."""

    column: ColumnName
    """The column that holds the time."""
    format: str | None = None
    """`epoch`, `epoch_ms`, `epoch_us` or `epoch_ns` (seconds since 1970 UTC, or their thousandths, millionths or
    billionths) or a strptime pattern such as `%Y-%m-%d %H:%M`, but without `%Z`; without it a number (to order by) or
    ISO 8601 text is expected. Dates in digits, such as 20240131, need theirs: `%Y%m%d`."""


class _DrawnSplit(Settings):
    """Shares of the rows, drawn from train."""

    valid: Fraction = 0.1
    """Share of the rows held out to choose the best epoch by. Leave it out where `data.valid` names files."""
    test: Fraction = 0.1
    """Share of the rows held out for the final figures. Leave it out where `data.test` names files."""

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
    """Seed of the draw. It is not the recipe's `seed`, so that trainings with different seeds share one split."""


class TimeSplit(_DrawnSplit):
    """Ordered by `data.time`: the first rows train, the next are valid, the last are test. Rows of one instant stay
    together.
    """

    kind: Literal["time"]
    """By the order of `data.time`."""


class KeySplit(_DrawnSplit):
    """By the hash of a column's value, so that one user or one query is never on both sides."""

    kind: Literal["key"]
    """By the hash of a column's value."""
    key: ColumnName
    """The column whose equal values stay together, such as a user id."""
    seed: int = 0
    """Seed of the hash. It is not the recipe's `seed`, so that trainings with different seeds share one split."""


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


class SideTable(Settings):
    """A second table, joined to every row by a key. Its column `age` is called `TABLE.age` elsewhere in the recipe."""

    files: Paths
    """A file, a list of them, a glob or a directory; relative to the recipe's folder. Held in memory."""
    key: ColumnName
    """The column of the side table that identifies its rows; no value may repeat."""
    on: ColumnName | None = None
    """The column of the log that holds the key; default: the name in `key`."""
    format: FormatSettings = FormatSettings()


class DataSettings(Settings):
    """Where the rows are and what they mean."""

    train: Paths
    """A file, a list of them, a glob or a directory; relative to the recipe's folder."""
    valid: Paths | None = None
    """Files of the valid split; without them valid rows are split off `train`."""
    test: Paths | None = None
    """Files of the test split; without them test rows are split off `train`."""
    format: FormatSettings = FormatSettings()
    tables: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], SideTable] = Field(default_factory=dict)
    """Side tables by name; the columns of table `users` are `users.age`, `users.city`, …"""
    label: LabelSettings
    weight: ColumnName | None = None
    """Column of row weights (finite, not negative)."""
    time: TimeSettings | None = None
    group: ColumnName | None = None
    """Column whose equal values are ranked together (a user, a session, a query): adds GAUC, MAP, NDCG, MRR and hit
    rate."""
    keep_negatives: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the train rows with a negative label that is kept, drawn at random; scores are corrected for it."""
    split: Split | None = None
    """How valid and test rows are taken from `train`, where they have no files of their own; by default at random, 10%
    each."""
    bad_numbers: Literal["error", "missing"] = "error"
    """What happens to a text, NaN or infinity in a numeric column, to a time that cannot be read, and to a list that is
    not of its `form`: refused, or counted as missing."""

    @model_validator(mode="before")
    @classmethod
    def _split_is_drawn_at_random(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("split"), dict) and "kind" not in value["split"]:
            value = {**value, "split": {"kind": "random", **value["split"]}}
        return value

    def all_paths(self) -> tuple[str, ...]:
        """Every path, glob and URL that the section names, those of side tables too."""
        tables = (path for table in self.tables.values() for path in table.files)
        return (*self.train, *(self.valid or ()), *(self.test or ()), *tables)

    @model_validator(mode="after")
    def _sampling_needs_two_classes(self) -> "DataSettings":
        if self.keep_negatives < 1.0 and self.label.kind != "binary":
            raise ValueError("`keep_negatives` needs a binary label; a regression has no negatives")
        return self

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
