"""The one place that puts settings, policy, access log, keys and stores together."""
