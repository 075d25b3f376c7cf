"""Service policies: the access policy compiled for Vault, AWS, Google and Azure, against hostile workers.

Compiling only writes text and calls no service.
"""

from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy, write

__all__ = ["Compiled", "compile_policy", "write"]
