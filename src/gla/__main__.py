"""``python -m gla`` is the command ``gla``."""

import sys

from gla.cli import main

sys.exit(main())
