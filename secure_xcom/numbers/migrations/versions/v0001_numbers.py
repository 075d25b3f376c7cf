"""The table of numbers.

Written out, not taken from the models: a migration says what was made then.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "secure_xcom_numbers",
        sa.Column("compartment", sa.String(63), nullable=False),
        sa.Column("xcoms", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("plaintext", sa.BigInteger(), nullable=False),
        sa.Column("expired", sa.BigInteger(), nullable=False),
        sa.Column("unreadable", sa.BigInteger(), nullable=False),
        sa.Column("versions", sa.Text(), nullable=False),
        sa.Column("first_pushed", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_pull", sa.DateTime(timezone=True), nullable=True),
        sa.Column("counted", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("compartment"),
    )


def downgrade() -> None:
    """Take the table away; the next count fills a new one."""
    op.drop_table("secure_xcom_numbers")
