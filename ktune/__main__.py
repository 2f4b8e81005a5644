"""`python -m ktune`."""

import sys

from ktune.cli.main import main

sys.exit(main())
