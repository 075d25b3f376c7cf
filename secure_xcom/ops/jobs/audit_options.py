"""The options that name sinks, the anchored log and its key, declared once for the jobs and commands that share
them."""

from __future__ import annotations

from secure_xcom.ops.jobs.job import Option

SINK = Option("Sink URI to read. Can be repeated. Default: [secure_xcom] audit_sinks.", ("--sink",), metavar="URI")
LOG = Option("Store URI of the anchored log. Default: [secure_xcom] sealed_log.", ("--log",), metavar="URI")
KEY = Option("URI of the signing key. Default: [secure_xcom] sealing_key.", ("--key",), metavar="URI")
NAME = Option("Name of the log. Default: [secure_xcom] sealed_log_name.", ("--name",), metavar="NAME")
VERIFIER = Option(
    "Verifier key to trust. Can be repeated. Default: [secure_xcom] sealed_log_verifiers.",
    ("--verifier",),
    metavar="NAME+ID+KEY",
)
QUIET = Option(
    "Age at which events of an unfinished chain are included.", ("--quiet",), metavar="SECONDS", minimum=0
)
