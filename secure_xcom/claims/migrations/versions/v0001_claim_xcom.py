"""The table of claims.

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
        "claim_xcom",
        sa.Column("payload", sa.String(36), nullable=False),
        sa.Column("compartment", sa.String(63), nullable=False),
        sa.Column("dag_id", sa.String(250), nullable=False),
        sa.Column("run_id", sa.String(250), nullable=False),
        sa.Column("task_id", sa.String(250), nullable=False),
        sa.Column("map_index", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(512), nullable=False),
        sa.Column("claimant_dag_id", sa.String(250), nullable=False),
        sa.Column("claimant_run_id", sa.String(250), nullable=False),
        sa.Column("claimant_task_id", sa.String(250), nullable=False),
        sa.Column("claimant_map_index", sa.Integer(), nullable=False),
        sa.Column("claimed", sa.DateTime(timezone=True), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("payload"),
    )
    op.create_index("claim_xcom_compartment", "claim_xcom", ["compartment", "payload"])


def downgrade() -> None:
    """Take the table away, and with it all claims: what they held can be claimed anew."""
    op.drop_index("claim_xcom_compartment", table_name="claim_xcom")
    op.drop_table("claim_xcom")
