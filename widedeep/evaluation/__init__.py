"""Figures of merit of scored rows: exact metrics in bounded memory (no torch)."""

from widedeep.evaluation.metrics import METRICS, TITLES, Kind, MetricAccumulator, metric_direction, metric_title

__all__ = ["METRICS", "TITLES", "Kind", "MetricAccumulator", "metric_direction", "metric_title"]
