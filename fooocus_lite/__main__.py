"""``python -m fooocus_lite`` is the same door as the console script."""

import sys

from fooocus_lite.cli import main

if __name__ == "__main__":
    sys.exit(main())
