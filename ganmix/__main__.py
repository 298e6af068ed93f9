"""`python -m ganmix VERB`, and the console script `ganmix`."""

import sys

from ganmix.commands import main

if __name__ == "__main__":
    sys.exit(main())
