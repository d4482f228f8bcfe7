"""The sparse hot path: optimizer rules on the touched rows of a table. Importing this package imports no torch."""
