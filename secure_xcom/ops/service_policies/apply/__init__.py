"""Apply compiled policies to services, one file per service."""
