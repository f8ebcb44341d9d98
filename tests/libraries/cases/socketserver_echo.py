"""socketserver and queue: a threaded echo server per job, in the job's own process."""

import queue
import socket
import socketserver
import threading
import time

NAME = "socketserver and queue"
THREADS_GREEN = True


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            time.sleep(0.1)
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


def converse(address, lines, answers):
    with socket.create_connection(address) as connection, connection.makefile("rwb") as stream:
        for line in iter(lines.get, None):
            stream.write(line)
            stream.flush()
            answers.put(stream.readline())


def job(i: int) -> None:
    lines, answers = queue.Queue(), queue.SimpleQueue()
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        client = threading.Thread(target=converse, args=(server.server_address, lines, answers))
        client.start()
        for number in range(2):
            line = b"%d of %d\n" % (number, i)
            lines.put(line)
            assert answers.get(timeout=30) == line
        lines.put(None)
        client.join()
        server.shutdown()
