"""`python -m actors`: the same as `actors`."""

import sys

from actors.cli.main import main

sys.exit(main())
