"""The stages, their keys, cache and locks: what runs when."""
