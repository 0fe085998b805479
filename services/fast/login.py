"""A form that signs in, written as if the application stood at the root: `/welcome`, `Path=/`.

The gateway puts the prefix before both.  Links within pages are relative: no gateway changes pages.
It takes everybody's word for the name, and asks for no password.
"""

from __future__ import annotations

import html
import secrets
from collections import OrderedDict
from typing import Annotated

from fastapi import APIRouter, Cookie, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

MOST_SESSIONS = 1000
COOKIE = "session"

router = APIRouter(include_in_schema=False)
sessions: OrderedDict[str, str] = OrderedDict()
"""Token -> name, in the order of signing in; the oldest make room for new ones."""

Session = Annotated[str | None, Cookie(alias=COOKIE)]


@router.get("/login")
async def login_form() -> HTMLResponse:
    return page(
        "Sign in",
        '<form action="login" method="post">'
        '<label>Your name <input name="name" maxlength="80" autocomplete="name" required></label> '
        "<button>Sign in</button></form>",
    )


@router.post("/login")
async def sign_in(request: Request, name: Annotated[str, Form(min_length=1, max_length=80)]) -> Response:
    token = secrets.token_urlsafe(32)
    sessions[token] = name
    while len(sessions) > MOST_SESSIONS:
        sessions.popitem(last=False)
    answer = RedirectResponse("/welcome", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(COOKIE, token, path="/", httponly=True, samesite="lax", secure=secure)
    return answer


@router.get("/welcome")
async def welcome(request: Request, session: Session = None) -> Response:
    """Whoever has not signed in is sent to the form, by a whole address: from the gateway's headers."""
    if session is None or session not in sessions:
        return RedirectResponse(request.url_for("login_form"), 303)
    greeting = f"<p>Welcome, {html.escape(sessions[session])}.</p>"
    return page("Welcome", greeting + '<form action="logout" method="post"><button>Sign out</button></form>')


@router.post("/logout")
async def sign_out(session: Session = None) -> Response:
    sessions.pop(session or "", None)
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def page(title: str, content: str) -> HTMLResponse:
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    body = f"<h1>{title}</h1>{content}"
    return HTMLResponse(
        f'<!doctype html><html lang="en">{head}<title>{title}</title>{body}</html>',
        headers={"Cache-Control": "no-store"},
    )
