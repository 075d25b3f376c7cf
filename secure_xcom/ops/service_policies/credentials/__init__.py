"""Hand out credentials: each identity's login at Vault and at the S3 server, in a file for its workers alone."""
