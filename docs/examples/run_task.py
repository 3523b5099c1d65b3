# SPDX-License-Identifier: Apache-2.0
"""Tell a running arm what to do and wait for the end of the task.

    python docs/examples/run_task.py "put the red cube into the bowl" --time-limit 30

Ctrl-C cancels it. Exits with 0 when the task is done (the topic of executor_node's parameter
success_topic said so, in the simulation sim/success), with 1 when the time was over or the task
failed, with 2 when executor_node is not there, and with 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from smolvla_core.client import ClientError, SmolVLAClient

from smolvla_msgs.action import RunTask


def show(now: RunTask.Feedback) -> None:
    """Print how it goes."""
    line = f"{now.elapsed:5.1f} s, {now.chunks} chunks, queue {now.queue_depth}"
    print(f"\r{line} ", end="", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the arm what to do."""
    parser = argparse.ArgumentParser(description="Tell a running arm what to do.")
    parser.add_argument("instruction")
    parser.add_argument("--time-limit", type=float, default=30.0, help="[s]; 0 for none")
    parser.add_argument("--namespace", default="", help="of the arm")
    given = parser.parse_args(arguments)
    try:
        with SmolVLAClient.connect("run_task", given.namespace) as client:
            result = client.run_task(given.instruction, given.time_limit, show)
    except ClientError as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ncanceled", file=sys.stderr)
        return 130
    print(file=sys.stderr)
    print(f"{result.message} ({result.elapsed:.1f} s, {result.chunks} chunks)")
    return int(result.reason != RunTask.Result.SUCCEEDED)


if __name__ == "__main__":
    raise SystemExit(main())
