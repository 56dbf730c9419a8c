"""`python -m opsconductor`: the same as the `opsconductor` command."""

from opsconductor.bootstrap.entry import main

main()
