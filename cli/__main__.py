"""`python -m widedeep_cli`: the command without its script."""

from .main import main

main()
