# SPDX-License-Identifier: Apache-2.0
"""Give orders to `record_node` from a script or a machine without the command ros2.

    python -m smolvla_learning.record_node.episode session --task "put the red cube into the bowl"
    python -m smolvla_learning.record_node.episode start [--task "put the red cube into the bowl"]
    python -m smolvla_learning.record_node.episode save
    python -m smolvla_learning.record_node.episode discard
    python -m smolvla_learning.record_node.episode reset          # a simulation

`session` takes its orders from the keyboard, one key each. With a simulation every start puts
the scene and the arm back. Prints the answers. Exits with 0 when the order was carried out,
with 1 when it was refused or nobody answered.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence

import rclpy
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor
from rclpy.validate_namespace import validate_namespace

from smolvla_learning.record_node.client import START_WAIT, RecorderClient
from smolvla_learning.record_node.keys import Keys

HELP = (
    "Enter or space: start, then save | d: discard | r: reset the simulation | n: next task | "
    "q: quit"
)
SESSION_WAIT = 20.0
"""How long a session waits for a start that is refused at first [s]."""


class Session:
    """Orders by keys, one episode after the other.

    Args:
        client: of the recorder.
        tasks: instructions, which take turns with each saved episode; without, the recorder's.
        wait: how long to try again while a start is refused [s].
        keep_scene: leave a simulation as it is.
    """

    def __init__(
        self, client: RecorderClient, tasks: Sequence[str], wait: float, keep_scene: bool
    ) -> None:
        self._client = client
        self._tasks = list(tasks) or [""]
        self._wait = wait
        self._keep_scene = keep_scene
        self._turn = 0

    @property
    def task(self) -> str:
        """The instruction of the next episode; empty: the recorder's own."""
        return self._tasks[self._turn % len(self._tasks)]

    def press(self, key: str) -> str | None:
        """Carry out the order of a key. Returns words for the user, None to end.

        Raises:
            ValueError: it was refused; the text says why.
        """
        if key in "\r\n s":
            if not self._client.busy:
                return self._client.start(self.task, self._wait, reset=not self._keep_scene)
            words = self._client.save()
            return f"{words}{self._next()}"
        if key == "d":
            return self._client.discard()
        if key == "r":
            return self._client.reset(self.task)
        if key == "n":
            return f"task{self._next() or ' stays: there is one'}"
        if key == "q":
            if self._client.busy:
                raise ValueError("an episode is running: save it (Enter) or discard it (d) first")
            return None
        return HELP

    def _next(self) -> str:
        self._turn += 1
        return f'; next: "{self.task}"' if len(self._tasks) > 1 else ""


def run_session(session: Session, client: RecorderClient, keys: Keys) -> None:
    """Serve keys until the user quits or the input ends."""
    client.find()  # so that the first key finds an episode that runs already
    print(HELP)
    if session.task:
        print(f'next: "{session.task}"')
    told = ""
    while (key := keys.read()) is not None:
        if key:
            try:
                words = session.press(key)
            except ValueError as error:
                words = f"! {error}"
            if words is None:
                return
            print(words, flush=True)
            told = client.status
        elif client.status.partition(":")[0] != told.partition(":")[0]:
            # What the recorder does by itself: an episode that begins, ends or breaks.
            told = client.status
            print(told, flush=True)
    if client.busy:
        print("the input ended; the episode is left running: save or discard it", file=sys.stderr)


def _seconds(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text} must be 0 or more seconds")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m smolvla_learning.record_node.episode",
        description="Start, save or discard an episode of the recorder, or put a simulation back.",
    )
    parser.add_argument("order", choices=("session", "start", "save", "discard", "reset"))
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        help="the instruction, for the recorder and then for all others; with `session` it may be "
        "given several times: they take turns",
    )
    parser.add_argument(
        "--recorder",
        default="record_node",
        help="name of its node, with its namespace if it has one, e.g. /left/record_node "
        "(default: record_node)",
    )
    parser.add_argument(
        "--wait",
        type=_seconds,
        help="start: try again for so many seconds while it is refused, e.g. until the arm is at "
        f"rest (default: {START_WAIT:g}, in a session {SESSION_WAIT:g}); save: with a simulation, "
        "wait so long for the success of the task first (default: 0)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="start, reset: of the simulated scene (default: a new scene each time)",
    )
    parser.add_argument(
        "--keep-scene", action="store_true", help="start: leave a simulation as it is"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, help="to find the recorder [s] (default: 10)"
    )
    return parser


def _carry_out(options: argparse.Namespace, client: RecorderClient, keys: Keys) -> str:
    task = options.task[0] if options.task else ""
    if options.order == "session":
        wait = SESSION_WAIT if options.wait is None else options.wait
        session = Session(client, options.task, wait, options.keep_scene)
        run_session(session, client, keys)
        return ""
    if options.order == "start":
        wait = START_WAIT if options.wait is None else options.wait
        return client.start(task, wait, options.seed, not options.keep_scene)
    if options.order == "save":
        return client.save(options.wait or 0.0)
    if options.order == "reset":
        return client.reset(task, options.seed)
    return client.discard()


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one order, or those of a session."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if len(options.task) > 1 and options.order != "session":
        parser.error("--task may be given several times only with 'session'")
    if options.seed is not None and not 0 <= options.seed < 2**64:
        parser.error(f"--seed {options.seed} must be 0 or more")
    namespace, _, recorder = options.recorder.rpartition("/")
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    try:
        validate_namespace(f"/{namespace.strip('/')}")  # create_node adds a warning of its own
        node = rclpy.create_node("episode_orders", namespace=namespace, context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)

        def spin(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left)

        client = RecorderClient(node, spin, recorder, options.timeout)
        stream = sys.stdin if options.order == "session" else None
        with Keys(stream, lambda: spin(0.05)) as keys:
            words = _carry_out(options, client, keys)
        if words:
            print(words)
        client.close()
        executor.shutdown()
        node.destroy_node()
    except NameValidationException as error:
        words = str(error).splitlines()[0]
        print(f"--recorder '{options.recorder}': {words}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown(context=context)
    return 0


if __name__ == "__main__":
    sys.exit(main())
