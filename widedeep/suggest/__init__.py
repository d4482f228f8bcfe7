"""The recipe that a table suggests: `widedeep init`."""
