"""`python -m topology`: the same command where a script cannot be used."""

import sys

from topology.cli import run

if __name__ == "__main__":
    sys.exit(run())
