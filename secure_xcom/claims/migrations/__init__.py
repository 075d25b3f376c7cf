"""Alembic's environment for the table of claims. Only `secure_xcom.claims.migrate` runs it."""
