"""What operates the product: jobs, the access log's trail, service policies, checks. A task loads none of it."""
