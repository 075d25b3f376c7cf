"""Exclusive XComs: readable by one task instance only. Its first pull makes a claim; every other is refused.

Where claims are kept is one interface (`secure_xcom.claims.ledger`) with two forms: objects beside the payloads,
created and never overwritten (`secure_xcom.claims.claim_objects`), or rows of a database
(`secure_xcom.claims.claim_table`).
"""

from __future__ import annotations

IMPLEMENTATIONS = {"database": "secure_xcom.claims.claim_table:ClaimTable"}
"""The ledgers that a deployment can configure. Without one, claims are objects beside the payloads."""
