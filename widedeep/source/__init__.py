"""From files and streams to raw blocks: paths, formats, text as it was written."""
