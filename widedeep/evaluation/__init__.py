"""Metrics of scored rows, exact and in bounded memory, and comparisons of models on the same rows. No torch."""

from widedeep.evaluation.formulas import DIRECTIONS, TITLES, metric_direction, metric_title
from widedeep.evaluation.metrics import MetricAccumulator

__all__ = ["DIRECTIONS", "TITLES", "MetricAccumulator", "metric_direction", "metric_title"]
