"""widedeep: Wide & Deep click-through-rate experiments on tabular data."""

__version__ = "0.1.0"
