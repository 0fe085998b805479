"""The hospital's bills.  Whether one is paid it asks of the finance company, through its own gateway."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi import Path as InPath
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

SERVICE = os.environ.get("SERVICE_NAME", "billing")
GATEWAY_URL = os.environ.get("GATEWAY_URL", "http://gateway:8080")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
DATABASE = Path(tempfile.gettempdir()) / "billing.sqlite"
BILL = 'SELECT number, amount, currency, purpose AS "for" FROM bills'
REFUSALS = {
    400: "does not accept the certificate or the request",
    403: "does not let this host in",
    502: "cannot be reached",
    504: "does not answer in time",
}

Identifier = Annotated[str, InPath(pattern="^[A-Za-z0-9-]{1,40}$")]
Row = dict[str, Any]


class Payment(TypedDict):
    """What the finance company says of a bill."""

    number: str
    paid: bool
    paid_on: str | None


PAYMENT = TypeAdapter(Payment)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    DATABASE.unlink(missing_ok=True)  # every start begins with the same bills
    with closing(sqlite3.connect(DATABASE)) as database:
        database.executescript(Path(__file__).with_name("seed.sql").read_text())
    # No environment proxies, no redirects: what the gateway answers is what counts.
    async with httpx.AsyncClient(base_url=GATEWAY_URL, trust_env=False, timeout=10) as client:
        app.state.gateway = client
        yield


app = FastAPI(title=SERVICE, openapi_url=None, redirect_slashes=False, lifespan=lifespan)


# Bills


def known_patient(patient: Identifier) -> str:
    if not rows("SELECT patient FROM patients WHERE patient = ?", patient):
        raise HTTPException(404, f"there is no patient {patient}")
    return patient


KnownPatient = Annotated[str, Depends(known_patient)]


def known_bill(patient: KnownPatient, number: Identifier) -> Row:
    found = rows(f"{BILL} WHERE patient = ? AND number = ?", patient, number)
    if not found:
        raise HTTPException(404, f"{patient} has no bill {number}")
    return found[0]


KnownBill = Annotated[Row, Depends(known_bill)]


@app.get("/bills/{patient}")
def bills(patient: KnownPatient) -> dict[str, object]:
    """Amounts are in the currency's minor unit (cents), and whole numbers."""
    return {"patient": patient, "bills": rows(f"{BILL} WHERE patient = ? ORDER BY number", patient)}


@app.get("/bills/{patient}/{number}")
def bill(found: KnownBill) -> dict[str, object]:
    return found


@app.get("/bills/{patient}/{number}/paid")
async def paid(found: KnownBill, request: Request) -> Payment:
    """What the finance company says; 502 with its status where it refuses."""
    answer = await ask("finance", f"/finance/payments/{found['number']}", request)
    try:
        payment = PAYMENT.validate_json(answer.content, strict=True)
    except ValidationError as error:
        raise HTTPException(502, "finance answered 200, but not with a payment") from error
    if payment["number"] != found["number"]:
        raise HTTPException(502, "finance answered 200, but about another bill")
    return payment


def rows(statement: str, *values: str) -> list[Row]:
    with closing(sqlite3.connect(DATABASE)) as database:
        database.row_factory = sqlite3.Row
        return [dict(row) for row in database.execute(statement, values)]


# The partner


async def ask(partner: str, path: str, request: Request) -> httpx.Response:
    """The partner's answer to that path, asked through the gateway with the id of the request that led to it.

    Raises HTTPException 502, which says the partner's status, where that is not 200.
    """
    trace = request.headers.get("x-request-id")
    try:
        answer = await app.state.gateway.get(path, headers={"x-request-id": trace.encode("latin-1")} if trace else {})
    except httpx.HTTPError as error:
        raise HTTPException(502, f"the gateway does not answer: {error or type(error).__name__}") from error
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
