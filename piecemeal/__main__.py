"""`python -m piecemeal`: the command line, where the package is not installed."""

import sys

from piecemeal.cli import main

if __name__ == "__main__":
    sys.exit(main())
