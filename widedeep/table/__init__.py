"""From raw blocks to typed rows: label, weight, group, lists, times, splits, side tables."""
