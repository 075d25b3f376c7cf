"""The FastAPI app that the API server mounts. Every route but the static files asks Airflow for a permission."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from secure_xcom.airflow.plugin.ui import routes_access, routes_compartments, routes_xcoms
from secure_xcom.airflow.plugin.ui.answers import add_errors, with_headers
from secure_xcom.core.config import RELEASE

STATIC = Path(__file__).with_name("static")


def make_app() -> FastAPI:
    """Return the app. It shows no description of itself, which would answer anybody."""
    app = FastAPI(title="secure_xcom", version=RELEASE, docs_url=None, redoc_url=None, openapi_url=None)
    for routes in (routes_xcoms, routes_access, routes_compartments):
        app.include_router(routes.router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.middleware("http")(with_headers)
    add_errors(app)
    return app
