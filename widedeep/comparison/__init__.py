"""Finished runs beside each other: tables of runs, differences measured on the same rows, ablations."""
