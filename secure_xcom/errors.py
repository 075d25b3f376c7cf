"""Former path of `secure_xcom.core.errors`, kept for code that imports it."""

from secure_xcom.core.errors import *  # noqa: F403  # every name, as it was
from secure_xcom.core.operator_errors import *  # noqa: F403
from secure_xcom.core.vault_errors import *  # noqa: F403
