"""A client of Airflow's REST API on loopback, which logs in when it is first asked."""

from __future__ import annotations

import http.client
import json
from typing import Any

from secure_xcom.core.operator_errors import ThrowawayFailed

# The API server answers nobody while it builds its Execution API, at that API's first request: ten seconds of CPU
# time for Airflow 3.4's, and a minute and more on a machine that does much else.
ANSWER_SECONDS = 300


class RestApi:
    """One user of the API server on a port of 127.0.0.1."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self._port = port
        self._user = user
        self._password = password
        self._token: str | None = None

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Return the HTTP status and the JSON of an answer.

        :raises OSError: the API server cannot be reached; :raises ThrowawayFailed: it does not log this user in.
        """
        if self._token is None:
            login = {"username": self._user, "password": self._password}
            status, answer = self.send("POST", "/auth/token", login)
            if status != http.client.CREATED:
                raise ThrowawayFailed(f"no token: HTTP {status} {answer}", where="/auth/token")
            self._token = str(answer["access_token"])
        return self.send(method, path, body, token=self._token)

    def send(self, method: str, path: str, body: object = None, *, token: str | None = None) -> tuple[int, Any]:
        """Return the same without a login.

        :raises OSError: the API server cannot be reached.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_SECONDS)
        headers = {"Accept": "application/json"}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        try:
            connection.request(method, path, body=data, headers=headers)
            answer = connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"no HTTP answer ({type(error).__name__})") from None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(text) if text else None
        except ValueError:
            return answer.status, text[:500].decode(errors="replace")
