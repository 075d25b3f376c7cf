"""Every error of the package: what users import. Also the former path of `secure_xcom.core.errors`."""

from secure_xcom.core.claim_errors import *  # noqa: F403  # every name of these files, as it was
from secure_xcom.core.errors import *  # noqa: F403  # as above
from secure_xcom.core.keyring_errors import *  # noqa: F403  # as above
from secure_xcom.core.operator_errors import *  # noqa: F403  # as above
from secure_xcom.core.policy_errors import *  # noqa: F403  # as above
from secure_xcom.core.service_errors import *  # noqa: F403  # as above
from secure_xcom.core.store_errors import *  # noqa: F403  # as above
from secure_xcom.core.vault_errors import *  # noqa: F403  # as above
