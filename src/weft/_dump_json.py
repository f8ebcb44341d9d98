"""A dump for programs: one JSON object, with every thread and every stack."""

import json
import os
import sys

from weft import _core
from weft._snapshot import Snapshot, Stack, Thread, line_of
from weft._waits import Wait


def told(snapshot: Snapshot, waits: dict[int, Wait]) -> str:
    """The JSON object, and a newline."""
    stacks: dict[Stack, list[dict[str, object]]] = {}
    alive, idle, queued = snapshot.offload
    return (
        json.dumps(
            {
                "process": os.getpid(),
                "command": sys.orig_argv,
                "threads": [_thread_json(thread, waits, stacks) for thread in snapshot.threads],
                "workers": [worker._asdict() for worker in snapshot.workers],
                "offload": {"os_threads": alive, "idle": idle, "queued": queued},
                "preemption": _core.get_preemption() if snapshot.watchdog else None,
                "os_threads": len(os.listdir("/proc/self/task")),
            }
        )
        + "\n"
    )


def _thread_json(
    thread: Thread,
    waits: dict[int, Wait],
    stacks: dict[Stack, list[dict[str, object]]],
) -> dict[str, object]:
    if thread.stack not in stacks:
        stacks[thread.stack] = [
            {
                "file": code.co_filename,
                "line": line_of(code, instruction),
                "function": code.co_qualname,
            }
            for code, instruction in reversed(thread.stack)
        ]
    return {
        "name": thread.name,
        "ident": thread.ident,
        "kind": thread.kind,
        "daemon": thread.daemon,
        "state": thread.state,
        "os_thread": thread.native_id,
        "waits": _wait_json(thread, waits),
        "spawned": thread.spawned and {"file": thread.spawned[0], "line": thread.spawned[1]},
        "stack": stacks[thread.stack],
    }


def _wait_json(thread: Thread, waits: dict[int, Wait]) -> dict[str, object] | None:
    if thread.park is None:
        return None
    wait = waits[thread.ident]
    return {
        "reason": thread.park.reason,
        "text": wait.text(),
        "seconds": thread.park.seconds,
        "seconds_left": thread.park.left,
        "descriptor": wait.descriptor,
        "thread": wait.thread,
        "thread_holds_it": wait.held,
    }
