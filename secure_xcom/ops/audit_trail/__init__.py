"""The access log as it was written: read, verified, anchored, searched, reconciled."""
