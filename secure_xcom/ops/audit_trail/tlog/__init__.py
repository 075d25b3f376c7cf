"""The Merkle log that access logs are sealed into: C2SP tlog-tiles, with signed checkpoints.

`merkle` is the arithmetic of RFC 6962, `layout` where each tile lies, `tiles` reads and extends them in a store,
`note` and `checkpoint` are the signed texts, `signers` hold the key. None of them knows what an event is.
"""
