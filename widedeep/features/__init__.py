"""From typed columns to indices and numbers: value hashing, crosses, and the fitted plan that encodes."""
