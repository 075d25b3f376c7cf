"""Run by Alembic, on the connection that `secure_xcom.numbers.migrate` hands in."""

from __future__ import annotations

from alembic import context

from secure_xcom.numbers.table import table

# Set while Alembic runs this file, and not when somebody imports it to look at it.
if hasattr(context, "config"):
    attributes = context.config.attributes
    context.configure(
        connection=attributes["connection"],
        target_metadata=table().metadata,
        version_table=attributes["version_table"],
    )
    with context.begin_transaction():
        context.run_migrations()
