"""``python -m partlib`` is the command ``partlib``."""

import sys

from partlib.cli import main

sys.exit(main())
