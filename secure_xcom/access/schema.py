"""Former path of `secure_xcom.core.access_policy.schema`, kept for code that imports it."""

from secure_xcom.core.access_policy.schema import schema, text, write

__all__ = ["schema", "text", "write"]

if __name__ == "__main__":
    write()
