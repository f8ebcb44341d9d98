"""werkzeug's development server, with a thread for every connection, as `flask run` starts it.

python werkzeug_server.py PORT
"""

import sys

from web_app import application
from werkzeug.serving import run_simple  # type: ignore[import-not-found]

if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
