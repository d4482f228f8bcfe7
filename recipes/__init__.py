"""The recipes that come with widedeep, as package data; `widedeep train NAME` finds them here."""
