"""`python -m shapewright` is the command `shapewright`."""

import sys

from .cli import main

sys.exit(main())
