"""Typed rows with the columns coded that ingest codes, for what must not depend on it."""

import polars as pl

from widedeep.source.coded import CodedRows


def coded(frame: pl.DataFrame) -> CodedRows:
    """Every column of texts or numbers as codes of its values, which stand in no order, one of them twice, one for no row."""
    values = {}
    for name in frame.columns:
        if frame[name].dtype in (pl.String, pl.Float64):
            different = frame[name].unique().sort(descending=True, nulls_last=True)
            values[name] = pl.concat([different[-1:], different, pl.Series([0]).cast(frame[name].dtype)])
    codes = []
    for name, found in values.items():
        # Of a value that stands there twice, every other row has the second.
        places = pl.DataFrame({name: found, "place": range(len(found))}).group_by(name).agg("place")
        rows = frame.select(name).join(places, on=name, how="left", nulls_equal=True, maintain_order="left")
        taken = pl.col("place").list.get(pl.int_range(pl.len()) % pl.col("place").list.len()).cast(pl.UInt32)
        codes.append(rows.select(taken.alias(name)).to_series())
    return CodedRows(frame.with_columns(codes), values)
