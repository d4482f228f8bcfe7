"""The stages with their keys, cache and lock, and whole experiments made of them."""
