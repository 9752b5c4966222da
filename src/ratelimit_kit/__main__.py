"""`python -m ratelimit_kit`: the command line."""

from __future__ import annotations

import sys

from ratelimit_kit.cli import main

sys.exit(main())
