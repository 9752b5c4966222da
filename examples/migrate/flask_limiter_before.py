"""A Flask site with Flask-Limiter."""

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

app = Flask(__name__)
limiter = Limiter(
    get_remote_address,
    app=app,
    application_limits=["100 per minute"],
    storage_uri="redis://127.0.0.1:6379/0",
    strategy="moving-window",
    headers_enabled=True,
)


@app.post("/login")
@limiter.limit("5 per minute")
def login():
    return "welcome"


@app.get("/healthz")
@limiter.exempt
def healthz():
    return "ok"
