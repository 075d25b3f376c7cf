"""Search the access log in bounded memory, follow it, and export it."""
