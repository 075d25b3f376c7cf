"""What the demo's pipeline works with: random values, so that a find of one of them is no chance."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

ACCOUNTS = 3
# About 5 MB as JSON: each number has 19 or 20 digits.
READINGS = 250_000


@dataclass(frozen=True, slots=True)
class RandomValues:
    """The values of one demo."""

    login: dict[str, Any] = field(repr=False)
    balances: dict[str, int] = field(repr=False)
    seed: str = field(repr=False)
    readings: int = READINGS

    @classmethod
    def generate(cls) -> RandomValues:
        """Return fresh values."""
        login = {
            "user": f"user-{secrets.token_hex(6)}",
            "host": f"bank-{secrets.token_hex(6)}.example",
            # With characters that a repr, JSON and a URL each write in another way.
            "password": f"{secrets.token_hex(6)}'\"{secrets.token_hex(6)}",
            "access_token": _number(),
            "port": 5432,
        }
        balances = {f"account-{secrets.token_hex(8)}": _number() for _ in range(ACCOUNTS)}
        return cls(login, balances, secrets.token_hex(16))

    def dump(self) -> str:
        """Return the file that the DAG's tasks read."""
        return json.dumps(
            {
                "login": self.login,
                "accounts": list(self.balances),
                "balances": self.balances,
                "seed": self.seed,
                "readings": self.readings,
            }
        )

    def pushed(self, task_id: str, map_index: int) -> Any:
        """Return what a task instance returns."""
        accounts = list(self.balances)
        if task_id == "read_balance":
            return {"account": accounts[map_index], "balance": self.balances[accounts[map_index]]}
        if task_id == "get_readings":
            return self._readings()
        return {"get_login": self.login, "list_accounts": accounts}[task_id]

    def expected(self) -> dict[str, Any]:
        """Return what the consumers must get, by the name they write it under."""
        readings = self._readings()
        return {
            "login": self.login,
            "balances": [self.pushed("read_balance", index) for index in range(len(self.balances))],
            "readings": [len(readings), hashlib.sha256(json.dumps(readings).encode()).hexdigest()],
        }

    def needles(self) -> dict[str, str]:
        """Return what a thief looks for, by what it is: every value that was pushed and is not common."""
        values = {name: str(value) for name, value in self.login.items() if name != "port"}
        for number, (account, balance) in enumerate(self.balances.items()):
            values[f"account {number}"] = account
            values[f"balance {number}"] = str(balance)
        values["first reading"] = str(self._readings()[0])
        return values

    def _readings(self) -> list[int]:
        stream = hashlib.shake_256(self.seed.encode()).digest(8 * self.readings)
        return [int.from_bytes(stream[8 * place : 8 * place + 8], "big") for place in range(self.readings)]


def _number() -> int:
    return 10**14 + secrets.randbelow(9 * 10**14)
