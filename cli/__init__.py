"""The command line of widedeep, installed as the package `widedeep_cli`."""
