"""A web case: a threaded web server as people start it, and the packages for it.

The command follows `python` or `weft run`; {port} stands for where it is to listen.  All serve
web_app.py, in as many threads as there will be connections; but werkzeug's, which starts a thread
for every one.  gunicorn forks: its processes share the listening socket, and the threads begin in
the child.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CONNECTIONS = 50

GUNICORN = (
    *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket"),
    *("--worker-class", "gthread", "--threads", str(CONNECTIONS)),
)


@dataclass(frozen=True)
class WebCase:
    key: str  # what --only calls it
    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    debian: tuple[str, ...] = ()
    pip_environment: dict[str, str] = field(default_factory=dict)


WEB_CASES = [
    WebCase(
        "gunicorn",
        "gunicorn gthread",
        ("gunicorn",),
        (*GUNICORN, "web_app:application"),
    ),
    WebCase(
        "gunicorn_workers",
        "gunicorn gthread, 2 workers",
        ("gunicorn",),
        (*GUNICORN, "--workers", "2", "web_app:application"),
    ),
    WebCase(
        "waitress",
        "waitress",
        ("waitress",),
        (
            *("-m", "waitress", "--listen", "127.0.0.1:{port}"),
            *("--threads", str(CONNECTIONS), "web_app:application"),
        ),
    ),
    WebCase(
        "werkzeug",
        "werkzeug, threaded",
        ("werkzeug",),
        ("werkzeug_server.py", "{port}"),
    ),
]
