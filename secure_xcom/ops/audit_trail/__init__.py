"""The access log after it was written: read, search, anchor, verify and reconcile it."""
