"""Try what each identity may really do, one file per service."""
