"""Figures of merit of scored rows: exact metrics in bounded memory (no torch)."""

from widedeep.evaluation.metrics import METRICS, TITLES, Kind, MetricAccumulator

__all__ = ["METRICS", "TITLES", "Kind", "MetricAccumulator"]
