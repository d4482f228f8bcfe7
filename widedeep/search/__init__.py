"""Searches over the settings of a recipe: what is tried, by which processes, what is kept of it. No torch."""
