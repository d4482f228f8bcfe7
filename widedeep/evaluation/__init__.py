"""Figures of merit of scored rows: exact metrics in bounded memory (no torch)."""

from widedeep.evaluation.formulas import DIRECTIONS, TITLES, metric_direction, metric_title
from widedeep.evaluation.metrics import MetricAccumulator

__all__ = ["DIRECTIONS", "TITLES", "MetricAccumulator", "metric_direction", "metric_title"]
