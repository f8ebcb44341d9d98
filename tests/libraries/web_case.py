"""A web case: a threaded web server as people start it, and the packages for it.

The command follows `python` or `weft run`; {port} stands for where it listens, {threads} for how
many it has: as many as there will be connections.  (werkzeug's starts one for each.)  All serve
web_app.py.  gunicorn forks: its processes share the listening socket, and the threads begin in the
child.
"""

from __future__ import annotations

from dataclasses import dataclass, field

FEW, MANY = 50, 400


@dataclass(frozen=True)
class WebCase:
    key: str  # what --only calls it
    name: str
    packages: tuple[str, ...]
    command: tuple[str, ...]
    connections: int = FEW
    debian: tuple[str, ...] = ()
    pip_environment: dict[str, str] = field(default_factory=dict)


GUNICORN = (
    *("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--no-control-socket"),
    *("--worker-class", "gthread", "--threads", "{threads}", "web_app:application"),
)
WAITRESS = (
    *("-m", "waitress", "--listen", "127.0.0.1:{port}", "--connection-limit", "1000"),
    *("--threads", "{threads}", "web_app:application"),
)
WERKZEUG = ("werkzeug_server.py", "{port}")

WEB_CASES = [
    WebCase("gunicorn", "gunicorn gthread", ("gunicorn",), GUNICORN),
    WebCase("gunicorn_many", "gunicorn gthread", ("gunicorn",), GUNICORN, MANY),
    WebCase("gunicorn_two", "gunicorn, 2 workers", ("gunicorn",), (*GUNICORN, "--workers", "2")),
    WebCase("waitress", "waitress", ("waitress",), WAITRESS),
    WebCase("waitress_many", "waitress", ("waitress",), WAITRESS, MANY),
    WebCase("werkzeug", "werkzeug, threaded", ("werkzeug",), WERKZEUG),
]
