"""From typed columns to indices and numbers: value hashing, the fitted plan, the encoded store, batches."""
