"""Try the actual rights of each identity, one file per service."""
