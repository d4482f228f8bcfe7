"""The model: the wide part, embeddings, towers and their sum. It knows sizes, not data."""
