"""Alarms: apply the access policy's rules to events, and notify people."""
