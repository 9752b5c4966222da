"""What a field of HTTP may be called (RFC 9110, 5.1)."""

from __future__ import annotations

import re
from typing import Final

FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
