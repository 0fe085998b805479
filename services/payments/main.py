"""The finance company's payments.  Which bills there are it asks of the hospital, through its own gateway."""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import FastAPI, HTTPException, Request
from fastapi import Path as InPath
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

SERVICE = os.environ.get("SERVICE_NAME", "payments")
GATEWAY_URL = os.environ.get("GATEWAY_URL", "http://gateway:8080")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
DATABASE = Path(tempfile.gettempdir()) / "payments.sqlite"
IDENTIFIER = "^[A-Za-z0-9-]{1,40}$"
REFUSALS = {
    400: "does not accept the certificate or the request",
    403: "does not let this host in",
    502: "cannot be reached",
    504: "does not answer in time",
}

Identifier = Annotated[str, InPath(pattern=IDENTIFIER)]
Bill = TypedDict(
    "Bill",
    {
        "number": Annotated[str, Field(pattern=IDENTIFIER)],
        "amount": Annotated[int, Field(gt=0)],
        "currency": Annotated[str, Field(pattern="^[A-Z]{3}$")],
        "for": str,
    },
)


class Bills(TypedDict):
    """What the hospital says of a patient."""

    patient: str
    bills: list[Bill]


BILLS = TypeAdapter(Bills)


def day_that_has_come(text: str) -> str:
    if date.fromisoformat(text) > datetime.now(UTC).date():
        raise ValueError("lies in the future")
    return text


class Paid(BaseModel):
    """What a caller says of a payment."""

    model_config = ConfigDict(extra="forbid")

    paid_on: Annotated[str, Field(pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"), AfterValidator(day_that_has_come)]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    DATABASE.unlink(missing_ok=True)  # every start begins with the same payments
    with closing(sqlite3.connect(DATABASE)) as database:
        database.executescript(Path(__file__).with_name("seed.sql").read_text())
    # No environment proxies, no redirects: what the gateway answers is what counts.
    async with httpx.AsyncClient(base_url=GATEWAY_URL, trust_env=False, timeout=10) as client:
        app.state.gateway = client
        yield


app = FastAPI(title=SERVICE, openapi_url=None, redirect_slashes=False, lifespan=lifespan)


@app.exception_handler(RequestValidationError)
async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """Without the input: JSON allows some in a body (NaN, half a surrogate pair) that an answer cannot hold."""
    wrong = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
    return JSONResponse({"detail": wrong.encode("ascii", "backslashreplace").decode()}, 422)


# Payments


@app.get("/payments/{number}")
def payment(number: Identifier) -> dict[str, object]:
    """The bills themselves are the hospital's: a number that nobody paid is unpaid here, whether it exists or not."""
    found = rows("SELECT paid_on FROM payments WHERE number = ?", number)
    return {"number": number, "paid": bool(found), "paid_on": found[0]["paid_on"] if found else None}


@app.post("/payments/{number}")
def pay(number: Identifier, paid: Paid) -> dict[str, object]:
    """Marks a bill as paid.  Saying it again changes nothing; another day than the one that stands is refused."""
    keep = "INSERT INTO payments VALUES (?, ?) ON CONFLICT DO UPDATE SET paid_on = payments.paid_on RETURNING paid_on"
    (stands,) = rows(keep, number, paid.paid_on)
    if stands["paid_on"] != paid.paid_on:
        raise HTTPException(409, f"{number} is paid since {stands['paid_on']}")
    return {"number": number, "paid": True, **stands}


@app.get("/due/{patient}")
async def due(patient: Identifier, request: Request) -> dict[str, object]:
    """The unpaid bills and, for each currency, their sum: in minor units (cents), and whole numbers.

    404 for a patient whom the hospital does not know; 502 with the hospital's status where it refuses.
    """
    answer = await ask("hospital", f"/hospital/bills/{patient}", request)
    try:
        said = BILLS.validate_json(answer.content, strict=True)
    except ValidationError as error:
        raise HTTPException(502, "hospital answered 200, but not with bills") from error
    if said["patient"] != patient:
        raise HTTPException(502, "hospital answered 200, but about another patient")
    numbers = json.dumps([bill["number"] for bill in said["bills"]])
    known = "SELECT number FROM payments WHERE number IN (SELECT value FROM json_each(?))"
    paid = {row["number"] for row in await run_in_threadpool(rows, known, numbers)}
    unpaid = [bill for bill in said["bills"] if bill["number"] not in paid]
    total: Counter[str] = Counter()
    for bill in unpaid:
        total[bill["currency"]] += bill["amount"]
    return {"patient": patient, "unpaid": unpaid, "sum": total}


def rows(statement: str, *values: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(DATABASE)) as database, database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(statement, values)]


# The partner


async def ask(partner: str, path: str, request: Request) -> httpx.Response:
    """The partner's answer to that path, asked through the gateway with the id of the request that led to it.

    Raises HTTPException: 404 where the partner's service (not a gateway, whose pages are HTML) knows nothing of it;
    502, which says the partner's status, where that is otherwise not 200.
    """
    trace = request.headers.get("x-request-id")
    try:
        answer = await app.state.gateway.get(path, headers={"x-request-id": trace.encode("latin-1")} if trace else {})
    except httpx.HTTPError as error:
        raise HTTPException(502, f"the gateway does not answer: {error or type(error).__name__}") from error
    if answer.status_code == 404 and answer.headers.get("content-type", "").startswith("application/json"):
        raise HTTPException(404, f"{partner} knows nothing of {path.rpartition('/')[2]}")
    if answer.status_code != 200:
        why = REFUSALS.get(answer.status_code, "does not answer as agreed")
        raise HTTPException(502, f"asking {partner} gave {answer.status_code}: it {why}")
    return answer


# What every service of the lab has


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok", "service": SERVICE}


@app.get("/greet/{name}")
async def greet(name: str) -> dict[str, str]:
    return {"service": SERVICE, "greeting": f"Hello, {name}"}


@app.api_route("/whoami", methods=METHODS)
async def whoami(request: Request) -> dict[str, object]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return {
        "service": SERVICE,
        "method": request.method,
        "path": request.scope["path"],
        "query": request.url.query,
        "headers": headers,
        "remote": request.client.host if request.client else None,
    }
