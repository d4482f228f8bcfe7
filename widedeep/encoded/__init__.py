"""Encoded rows: their store on disk, their folds, and the batches that training and scoring read."""
