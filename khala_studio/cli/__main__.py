"""`python -m khala_studio.cli` is `khala-studio`."""

import sys

from khala_studio.cli import main

if __name__ == "__main__":
    sys.exit(main())
