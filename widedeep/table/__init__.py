"""From raw files to a typed, split table: sources, typed reading, label, time, split."""
