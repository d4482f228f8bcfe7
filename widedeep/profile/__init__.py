"""What the columns of a table hold and what they say about the label: `widedeep ingest` and its report."""
