"""Alarms: rules of the access policy held against events, and telling who is to be told."""
