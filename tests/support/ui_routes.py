"""The routes of the page's API, as its app has them: a new one is tested by being there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from tests.e2e.ui_deployment import RUN


@dataclass(frozen=True)
class Known:
    """A route: its path, as FastAPI writes it, and its methods."""

    path: str
    methods: tuple[str, ...]


def every_route() -> list[Known]:
    """Return every route of the app but the static files, which are a mount and no route.

    :raises AssertionError: the app has something else, that no test asks.
    """
    from fastapi.routing import APIRoute
    from starlette.routing import Mount

    from secure_xcom.airflow.plugin.ui.app import make_app

    found = []
    for route in make_app().routes:
        if isinstance(route, Mount):
            assert route.path == "/static", route
            continue
        assert isinstance(route, APIRoute), route
        found.append(Known(route.path, tuple(sorted(route.methods))))
    return found


def url_of(route: Known, dag_id: str, part: str) -> Any:
    """Return a route's path, or query parameters that every route can do with."""
    if part == "path":
        return route.path.replace("{dag_id}", quote(dag_id, safe="")).lstrip("/")
    query = {"run_id": RUN, "task_id": "extract", "key": "return_value"}
    return query if "{dag_id}" in route.path else {}
