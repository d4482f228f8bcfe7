"""The memory of crosses: additive models fitted by counting, and the values of crosses out of fold. No torch."""
