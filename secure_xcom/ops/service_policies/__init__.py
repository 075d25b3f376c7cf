"""The access policy as the policies of services: Vault, AWS, Google and Azure, which hold against hostile workers.

What is compiled is text, and nothing here asks a service.
"""

from secure_xcom.ops.service_policies.compile.all_services import Compiled, compile_policy, write

__all__ = ["Compiled", "compile_policy", "write"]
