"""Compares finished runs: tables of runs, differences measured on the same rows, ablations."""
