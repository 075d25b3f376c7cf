"""Runs `secure-xcom` as if it were some hours later; only the package's own clock is moved, no server's.

python -m tests.soak.later HOURS COMMAND ...
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta, timezone

from secure_xcom.cli import app
from tests.support.stopped_clock import stopped

if __name__ == "__main__":
    hours, sys.argv[1:] = float(sys.argv[1]), sys.argv[2:]
    with stopped(datetime.now(timezone.utc) + timedelta(hours=hours)):
        app()
