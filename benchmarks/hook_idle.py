"""What do the hooks cost a program without green threads?  ns added to a recv."""

from __future__ import annotations

from harness import Benchmark, run
from hooked import Options, added_ns, options_parser


def weft(options: Options) -> float:
    from weft import spawn

    spawn(int).join()  # which installs the hooks
    return added_ns(options.batches)


if __name__ == "__main__":
    run(Benchmark("hook_idle", "ns", [weft], rounds=5), options_parser(__doc__))
