"""`python -m topology`: the same command where a script cannot be used."""

import sys

from topology.cli import main

if __name__ == "__main__":
    sys.exit(main())
