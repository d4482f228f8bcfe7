"""Look-ups in tables, and optimizer rules on the rows that a batch touched. Importing this package imports no torch."""
