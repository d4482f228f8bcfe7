"""What crosses remember: additive models from counts, and their values out of fold. No torch."""
