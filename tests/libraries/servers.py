"""Real servers, on loopback and unix sockets, each in a scratch folder of its own.

`SERVERS` maps a name that cases use to a context manager.  Entering one starts the server and waits
until it answers; it gives the environment variables by which a case finds it; leaving kills the
server, whatever state it is in, and removes its folder.

Some servers refuse to run as root.  We then start them as another user, who is given the folder.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import debian
from debian import UnavailableError
from web_servers import WEB_SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Environment = dict[str, str]
Command = list[str | Path]

UNPRIVILEGED = "nobody"
# However we end, the servers do too.  (Debian calls setpriv essential.)
DIE_WITH_US = ("setpriv", "--pdeathsig", "KILL")
START_SECONDS = 60
STOP_SECONDS = 10


# --- what all servers need ------------------------------------------------------------------------


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """A new folder that the server's user may write, with a name short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix=f"weft-{name}-"))
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(UNPRIVILEGED)
            os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o755)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def prepare(*command: str | Path, folder: Path) -> None:
    """Run a command that makes a server's data folder."""
    log = folder / "log"
    with log.open("wb") as output:
        process = open_process(command, folder, output)
    try:
        status = process.wait(START_SECONDS)
    except subprocess.TimeoutExpired:
        status = None
        kill(process, signal.SIGKILL)
    if status != 0:
        raise UnavailableError(f"{Path(command[0]).name}: {last_line(log)}")


@contextmanager
def running(
    *command: str | Path,
    folder: Path,
    answers: Callable[[], bool],
    stop: signal.Signals = signal.SIGKILL,
) -> Iterator[subprocess.Popen[bytes]]:
    """The server's process, in a group of its own, from its first answer until we are done."""
    log = folder / "log"
    with log.open("wb") as output:
        process = open_process(command, folder, output)
    try:
        wait_for(process, answers, log)
        yield process
    finally:
        kill(process, stop)


def open_process(
    command: Sequence[str | Path], folder: Path, output: IO[bytes]
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [*DIE_WITH_US, *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=debian.environment(),
            cwd=folder,
            user=UNPRIVILEGED if os.geteuid() == 0 else None,
            start_new_session=True,
        )
    except OSError as error:  # a folder that is closed to UNPRIVILEGED, say
        raise UnavailableError(str(error)) from error


def wait_for(process: subprocess.Popen[bytes], answers: Callable[[], bool], log: Path) -> None:
    give_up = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > give_up:
            raise UnavailableError(f"does not start: {last_line(log)}")
        time.sleep(0.02)


def last_line(log: Path) -> str:
    return (log.read_text(errors="replace").strip().splitlines() or ["no message"])[-1]


def kill(process: subprocess.Popen[bytes], stop: signal.Signals) -> None:
    """Its data go with it, so the server need not tidy up; but it may have to end its children."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.send_signal(stop)
        process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(STOP_SECONDS)


def port_answers(port: int) -> Callable[[], bool]:
    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return answers


# --- PostgreSQL -----------------------------------------------------------------------------------


@contextmanager
def postgresql() -> Iterator[Environment]:
    initdb = debian.find("initdb", "postgresql-15")
    with scratch("pg") as folder:
        data, port = folder / "data", free_port()
        # No fsync: the data live for a minute.
        prepare(
            *(initdb, "-D", data, "-U", "weft", "--auth", "trust", "--no-sync", "-E", "UTF8"),
            folder=folder,
        )
        ready: Command = [
            *(initdb.with_name("pg_isready"), "-q", "-h", folder, "-p", str(port)),
            *("-U", "weft", "-d", "postgres"),
        ]
        command: Command = [
            *(initdb.with_name("postgres"), "-D", data, "-p", str(port), "-k", folder),
            *("--listen_addresses=127.0.0.1", "--max_connections=1000", "--shared_buffers=32MB"),
            *("--fsync=off", "--dynamic_shared_memory_type=mmap"),
        ]
        # Its backends leave the process group, and only it can end them: SIGQUIT, "at once".
        with running(
            *command, folder=folder, answers=lambda: succeeds(*ready), stop=signal.SIGQUIT
        ) as process:
            yield {
                "POSTGRESQL_FOLDER": str(folder),
                "POSTGRESQL_PORT": str(port),
                "POSTGRESQL_PID": str(process.pid),
            }


def succeeds(*command: str | Path) -> bool:
    done = subprocess.run(
        [*map(str, command)], check=False, capture_output=True, env=debian.environment()
    )
    return done.returncode == 0


# --- MariaDB --------------------------------------------------------------------------------------


@contextmanager
def mariadb() -> Iterator[Environment]:
    mariadbd = debian.find("mariadbd", "mariadb-server-core")
    messages = mariadbd.parents[1] / "share" / "mysql"
    with scratch("my") as folder:
        data, port = folder / "data", free_port()
        prepare("mkdir", data, data / "weft", folder=folder)
        # Without grant tables it takes an empty folder as it is, and any user.
        command: Command = [
            *(mariadbd, "--no-defaults", "--skip-grant-tables", f"--datadir={data}"),
            *(f"--socket={folder}/socket", f"--port={port}", "--bind-address=127.0.0.1"),
            *(f"--lc-messages-dir={messages}", f"--character-sets-dir={messages}/charsets"),
            *("--innodb-flush-method=nosync", "--innodb-buffer-pool-size=16M"),
            *("--innodb-use-native-aio=0", "--max-connections=300"),
        ]
        with running(*command, folder=folder, answers=port_answers(port)):
            yield {"MARIADB_SOCKET": f"{folder}/socket", "MARIADB_PORT": str(port)}


# --- Redis ----------------------------------------------------------------------------------------


@contextmanager
def redis() -> Iterator[Environment]:
    server = debian.find("redis-server", "redis-server")
    with scratch("redis") as folder:
        port = free_port()
        command: Command = [
            *(server, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder),
            *("--unixsocket", folder / "socket", "--save", "", "--appendonly", "no"),
        ]
        with running(*command, folder=folder, answers=port_answers(port)):
            yield {"REDIS_SOCKET": f"{folder}/socket", "REDIS_PORT": str(port)}


# --- all of them ----------------------------------------------------------------------------------


SERVERS: dict[str, Callable[[], contextlib.AbstractContextManager[Environment]]] = {
    "mariadb": mariadb,
    "postgresql": postgresql,
    "redis": redis,
    **WEB_SERVERS,
}
