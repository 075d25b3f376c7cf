"""The modules of `secure_xcom.core` that declare errors."""

from secure_xcom.ops.explain_error import ROOMS

ERROR_MODULES = tuple(room.__name__.rpartition(".")[2] for room in ROOMS)
