"""Missing values that a recipe lists as texts: a number, boolean or time among them is every cell that is that value.

`-999` is the integer and the float of a Parquet file, and `-999.0` in a column of numbers of a CSV file. Columns of
other texts know the very text alone: `7` is not `007`, nor `3.0` a version that `3` stands for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from widedeep.recipe.schema import DataSettings, FormatSettings
from widedeep.source.blocks import RawBlock
from widedeep.source.canonical import canonical_text, kind_of
from widedeep.source.coded import CodedColumn
from widedeep.source.forms import FORM_OF_KIND, FORMS, NAN, Form, boolean_text, in_form, is_of
from widedeep.table.typed_columns import Role, TypedColumn


class MissingValues:
    """The values that one `data.format.missing` lists; readers see to its texts as they are."""

    def __init__(self, settings: FormatSettings) -> None:
        self._texts: dict[Form, list[str]] = {}
        if not any(settings.missing):  # the empty text has no form
            return
        listed = pl.DataFrame({"text": settings.missing}, schema={"text": pl.String})
        text = pl.col("text")
        for form in FORMS:
            written = listed.filter(is_of(text, form)).select(in_form(text, form).fill_null(NAN)).to_series()
            if len(written):
                self._texts[form] = written.unique(maintain_order=True).to_list()

    def __bool__(self) -> bool:
        """Whether a listed text is a number, a boolean, a date or a time."""
        return bool(self._texts)

    @property
    def by_form(self) -> Mapping[Form, Sequence[str]]:
        """Form → the listed values in their one writing; `nan` among numbers, which is missing in texts anyhow."""
        return self._texts

    def without(self, column: pl.Series) -> pl.Series:
        """A column of any type with the listed values null; a text is read in whichever form it has. Lists stay."""
        if column.dtype == pl.String:
            return column.set(self._is_listed(column), None)
        form = form_of_type(column.dtype)
        if form is None or form not in self._texts:
            return column
        if form == "number" and not isinstance(column.dtype, pl.Decimal):
            return column.set(self._is_number(column), None)
        text = in_form(canonical_text(pl.col("value"), column.dtype), form)
        texts = column.to_frame("value").select(text).to_series()
        return column.set(self.without_texts(texts, form).is_null(), None)

    def without_texts(self, texts: pl.Series, form: Form | None) -> pl.Series:
        """Texts in the one writing of their column's form, with the listed values null."""
        return texts.set(texts.is_in(self._texts[form]), None) if form in self._texts else texts

    def without_numbers(self, texts: pl.Series) -> pl.Series:
        """Texts of a column that is read as numbers, with the listed values null, however they are written."""
        if "number" in self._texts:
            texts = texts.set(self._is_number(texts.cast(pl.Float64, strict=False)), None)
        if "boolean" in self._texts:
            flags = texts.to_frame("text").select(boolean_text(pl.col("text"))).to_series()
            texts = texts.set(flags.is_in(self._texts["boolean"]), None)
        return texts

    def _is_listed(self, texts: pl.Series) -> pl.Series:
        different = texts.unique().drop_nulls().to_frame("text")
        text = pl.col("text")
        rules = [is_of(text, form) & in_form(text, form).fill_null(NAN).is_in(of) for form, of in self._texts.items()]
        return texts.is_in(different.filter(pl.any_horizontal(rules)).to_series().implode()).fill_null(False)

    def _is_number(self, numbers: pl.Series) -> pl.Series:
        # Of a half and a float32 the decimal counts that was written, as everywhere.
        if numbers.dtype == pl.Float32:
            numbers = numbers.cast(pl.String).cast(pl.Float64)
        values = pl.Series(self._texts["number"]).cast(numbers.dtype, strict=False).drop_nulls()
        return numbers.is_in(values.implode()).fill_null(False)


def form_of_type(dtype: pl.DataType) -> Form | None:
    """The form that the canonical texts of a column of that type have; None for texts, and for nulls only."""
    kind = kind_of(dtype)
    return FORM_OF_KIND.get(kind) if kind is not None else None


def missing_values(data: DataSettings) -> dict[str, MissingValues]:
    """Side table (`""`: the log) → the values that its format lists; without those that list none."""
    formats = {"": data.format} | {name: table.format for name, table in data.tables.items()}
    of_table = {name: MissingValues(settings) for name, settings in formats.items()}
    return {name: values for name, values in of_table.items() if values}


def table_of(column: str, data: DataSettings) -> str:
    """The side table that a source column comes from; `""` for the log."""
    table, dot, _ = column.partition(".")
    return table if dot and table in data.tables else ""


def without_missing(
    block: RawBlock, columns: Sequence[TypedColumn], data: DataSettings, of_table: Mapping[str, MissingValues]
) -> RawBlock:
    """The block with the listed values null, but for texts of single values and lists.

    Of single values the form of the whole column decides, which is known at the end; items of lists are left out where
    the lists are read.
    """
    roles: dict[str, set[Role]] = {}
    for column in columns:
        for source in column.sources:
            roles.setdefault(source, set()).add(column.role)
    series: list[pl.Series] = []
    coded: dict[str, CodedColumn] = {}
    for source, of_source in roles.items():
        values = of_table.get(table_of(source, data))
        if values is None:
            continue
        is_number = "number" in of_source or "weight" in of_source
        is_number |= "label" in of_source and data.label.kind == "regression"
        raw = block.coded[source].values if source in block.coded else block.frame[source]
        if raw.dtype == pl.String and is_number:
            left = values.without_numbers(raw)
        elif raw.dtype != pl.String or of_source - {"text", "values", "weights"}:
            left = values.without(raw)
        else:
            continue
        if source in block.coded:
            coded[source] = CodedColumn(left, block.coded[source].codes)
        else:
            series.append(left)
    return replace(block, frame=block.frame.with_columns(series), coded={**block.coded, **coded})
