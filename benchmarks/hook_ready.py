"""What does a hook cost a green thread that need not wait?  ns added to a recv."""

from __future__ import annotations

from harness import Benchmark, run
from hooked import Options, added_ns, options_parser


def weft(options: Options) -> float:
    from weft import spawn

    return spawn(added_ns, options.batches).result()


if __name__ == "__main__":
    run(Benchmark("hook_ready", "ns", [weft], rounds=5), options_parser(__doc__))
