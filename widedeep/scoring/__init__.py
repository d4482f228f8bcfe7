"""A run directory and a table → scores; used by `eval` and `predict` alike."""
