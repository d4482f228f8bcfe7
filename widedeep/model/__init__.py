"""The model: the wide part, embeddings, towers and their sum. Knows sizes, not data."""
