"""One AWS: who a process is there, and where each service is, by boto3's rules.

The key service uses boto3 itself (`secure_xcom.connections.aws.identity`). A bucket has two clients, obstore for
small payloads and boto3 for large ones; `secure_xcom.connections.aws.s3_access` decides once for both.
"""
