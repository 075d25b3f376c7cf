"""The Merkle log that access logs are anchored in: C2SP tlog-tiles, with signed checkpoints.

`merkle` has the hashing of RFC 6962, `layout` the path of each tile, `tiles` reads and extends tiles in a store,
`note` and `checkpoint` are the signed texts, `signers` hold the key. None of them knows what an event is.
"""
