"""Finds crosses and proves their gain. No torch, except to get the logits of a trained run."""
