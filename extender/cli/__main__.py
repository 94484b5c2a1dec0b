"""`python -m extender.cli` is the `carbon-scheduler` command."""

from extender.cli import main

main()
