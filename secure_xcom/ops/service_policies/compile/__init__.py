"""The access policy as the policies of services, one file per service."""
