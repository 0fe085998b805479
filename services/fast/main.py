"""A sample backend on FastAPI.  It calls other hosts through its own gateway and holds no certificate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from starlette.datastructures import Headers

import live
import login
from forwarded import RECEIVED, Forwarded

SERVICE = os.environ.get("SERVICE_NAME", "fast")
GATEWAY_URL = os.environ.get("GATEWAY_URL", "http://gateway:8080")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # No environment proxies, no redirects: the gateway's answer is passed on as it is.
    async with httpx.AsyncClient(base_url=GATEWAY_URL, trust_env=False, timeout=10) as client:
        app.state.gateway = client
        yield


# The API's page at /docs brings its script and style along: a lab has no way to a CDN.
app = FastAPIOffline(title=SERVICE, redoc_url=None, lifespan=lifespan)
app.add_middleware(Forwarded)
app.include_router(login.router)
app.include_router(live.router)


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok", "service": SERVICE}


@app.get("/greet/{name}")
async def greet(name: str) -> dict[str, str]:
    return {"service": SERVICE, "greeting": f"Hello, {name}"}


@app.get("/partner/{path:path}")
async def partner(path: str, request: Request) -> Response:
    """What this host's gateway answers to that path: there another company's host lies behind a route."""
    passed = {"x-request-id": request.headers["x-request-id"]} if "x-request-id" in request.headers else {}
    target = httpx.URL(GATEWAY_URL).copy_with(path=f"/{path}", query=request.url.query.encode() or None)
    try:
        answer = await app.state.gateway.get(target, headers=passed)
    except httpx.HTTPError as error:
        return JSONResponse({"service": SERVICE, "error": f"the gateway does not answer: {error}"}, status_code=502)
    return Response(answer.content, answer.status_code, media_type=answer.headers.get("content-type"))


@app.api_route("/whoami", methods=METHODS, include_in_schema=False)
async def whoami(request: Request) -> dict[str, object]:
    headers: dict[str, str] = {}
    for name, value in Headers(raw=request.scope[RECEIVED]).items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {
        "service": SERVICE,
        "method": request.method,
        "path": request.scope["path"].removeprefix(request.scope["root_path"]),
        "query": request.url.query,
        "headers": headers,
        "remote": request.client.host if request.client else None,
    }
