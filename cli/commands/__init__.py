"""The commands of `widedeep`: one file for each, and beside it what one of its options does."""
