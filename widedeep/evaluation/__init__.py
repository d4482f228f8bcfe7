"""Figures of merit of scored rows: exact metrics in bounded memory (no torch)."""

from widedeep.evaluation.formulas import METRICS, TITLES, Kind, metric_direction, metric_title
from widedeep.evaluation.metrics import MetricAccumulator

__all__ = ["METRICS", "TITLES", "Kind", "MetricAccumulator", "metric_direction", "metric_title"]
