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
from collections.abc import Sequence

from smolvla_core.client import ClientError

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
            ClientError: it was refused; the text says why.
        """
        if key in "\r\n s":
            if not self._client.busy:
                return self._client.start_episode(
                    self.task, self._wait, reset=not self._keep_scene
                )
            words = self._client.save_episode()
            return f"{words}{self._next()}"
        if key == "d":
            return self._client.discard_episode()
        if key == "r":
            return self._client.new_scene(self.task)
        if key == "n":
            return f"task{self._next() or ' stays: there is one'}"
        if key == "q":
            if self._client.busy:
                raise ClientError("an episode is running: save it (Enter) or discard it (d) first")
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
            except ClientError as error:
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
        return client.start_episode(task, wait, options.seed, not options.keep_scene)
    if options.order == "save":
        return client.save_episode(options.wait or 0.0)
    if options.order == "reset":
        return client.new_scene(task, options.seed)
    return client.discard_episode()


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one order, or those of a session."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if len(options.task) > 1 and options.order != "session":
        parser.error("--task may be given several times only with 'session'")
    if options.seed is not None and not 0 <= options.seed < 2**64:
        parser.error(f"--seed {options.seed} must be 0 or more")
    namespace, _, recorder = options.recorder.rpartition("/")
    stream = sys.stdin if options.order == "session" else None
    try:
        with (
            RecorderClient.connect(
                "episode_orders", namespace, recorder=recorder, timeout=options.timeout
            ) as client,
            Keys(stream, lambda: client.spin(0.05)) as keys,
        ):
            words = _carry_out(options, client, keys)
        if words:
            print(words)
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
