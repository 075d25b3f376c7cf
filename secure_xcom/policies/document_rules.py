"""The names of lint's rules about the policies of services, and what each one means."""

from __future__ import annotations

DOCUMENT_RULES: dict[str, str] = {
    "unreadable": "the file is not what its name says, so nothing is known of what it grants",
    "unknown-document": "the file is of no kind that lint knows, and was not looked at",
    "duplicate-key": "a name stands twice in one JSON object, and readers differ in which one they take",
    "vault-create-on-encrypt": "`create` on encrypt makes keys of any name that is not there yet",
    "vault-wildcard": "a path with a wildcard is open to more than one key, or to a whole KV store",
    "vault-batch": "a grant limited by context lets batches through, and Vault cannot see into `batch_input`",
    "vault-context": "a grant is limited by context in a way that limits nothing, or less than it seems",
    "vault-whole-beside-limited": "somebody has all of a key that others have a part of",
    "vault-repeated-path": "a path stands twice in one policy, and Vault merges them by their order",
    "vault-reads-and-administers": "one policy opens data keys and administers keys, policies or logins",
    "vault-key-material": "a policy gives out a key itself (export, backup)",
    "vault-needless": "a capability that no request needs, or that lets payloads be overwritten",
    "vault-sudo": "a policy gives `sudo` or `root`",
    "vault-role-open": "a login is bound to nobody in particular",
    "vault-key-weak": "a transit key is not derived, can be exported or can be deleted",
    "aws-not": "NotAction, NotResource or NotPrincipal: what it means grows with every new action",
    "aws-wildcard-action": "an allowed action has a wildcard",
    "aws-wildcard-resource": "an allowed resource is everything, all of a bucket, or every key",
    "aws-wildcard-principal": "anybody is allowed",
    "aws-context": "a key may be used without the compartment in the encryption context",
    "aws-reads-and-administers": "one principal uses a key and administers it",
    "aws-key-open": "a key policy does not deny uses outside its compartments",
    "aws-no-tls": "a bucket policy does not deny what is not TLS",
    "aws-overwrite": "a bucket policy does not deny overwriting",
    "aws-public": "public access is not shut off",
    "google-public": "anybody is allowed",
    "google-no-condition": "a binding holds for the whole bucket",
    "azure-no-condition": "a role assignment holds for the whole container",
}
