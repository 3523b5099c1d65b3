# SPDX-License-Identifier: Apache-2.0
"""``smolvla record``: starts the recorder and gives it orders.

`session` takes its orders from the keyboard, one key each. With a simulation every start puts
the scene and the arm back.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from smolvla_core.client import ClientError
from smolvla_core.console import DONE, INTERRUPTED, NO, command_parser
from smolvla_core.keys import Keys
from smolvla_core.node_settings import RecordSettings
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting, written

from smolvla_learning.record_node.client import RecorderClient
from smolvla_learning.recording.episode import START_WAIT

HELP = (
    "Enter or space: start, then save | d: discard | r: reset the simulation | n: next task | "
    "q: quit"
)
SESSION_WAIT = 20.0
"""How long a session waits for a start that is refused at first [s]."""


@dataclass(frozen=True, kw_only=True)
class OrderSettings(Settings):
    """Of the orders; `ORDERS` says which order has which."""

    task: tuple[str, ...] = setting(
        (),
        "The instruction, for the recorder and then for all others; in a session it may be given "
        "several times: they take turns.",
    )
    wait: float | None = setting(
        None,
        f"start: retry this long while refused (default {START_WAIT:g}, in a session "
        f"{SESSION_WAIT:g}); save: wait this long for the task's success in a simulation "
        "(default 0) [s].",
        0,
    )
    seed: int | None = setting(
        None, "Of the simulated scene (default: a new scene each time).", 0, 2**64 - 1
    )
    keep_scene: bool = setting(False, "Leave a simulation as it is.")
    recorder: str = setting(
        "record_node", "Name of its node, with its namespace if it has one: /left/record_node."
    )
    timeout: float = setting(10.0, "To find the recorder [s].", 0)


ORDERS = {
    "session": ("Record episode after episode, by keys.", ("task", "wait", "keep_scene")),
    "start": ("Begin an episode.", ("task", "wait", "seed", "keep_scene")),
    "save": ("End the episode and save it.", ("wait",)),
    "discard": ("End the episode and forget it.", ()),
    "reset": ("Put a simulation back.", ("task", "seed")),
}
"""Order -> what it does, and which of `OrderSettings` it has."""


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
        """Carry out the order of a key. Returns a message for the user, None to end.

        Raises:
            ClientError: it was refused.
        """
        if key in "\r\n s":
            if not self._client.busy:
                return self._client.start_episode(
                    self.task, self._wait, reset=not self._keep_scene
                )
            message = self._client.save_episode()
            return f"{message}{self._next()}"
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
    printed = ""
    while (key := keys.read()) is not None:
        if key:
            try:
                message = session.press(key)
            except ClientError as error:
                message = f"! {error}"
            if message is None:
                return
            print(message, flush=True)
            printed = client.status
        elif client.status.partition(":")[0] != printed.partition(":")[0]:
            # What the recorder does by itself: an episode that begins, ends or breaks.
            printed = client.status
            print(printed, flush=True)
    if client.busy:
        print("the input ended; the episode is left running: save or discard it", file=sys.stderr)


def parser(order: str) -> argparse.ArgumentParser:
    """Return the command line of an order."""
    description, names = ORDERS[order]
    sentence = ' --task "put the red cube into the bowl"' if "task" in names else ""
    made = command_parser(
        f"smolvla record {order}",
        description,
        f"smolvla record {order}{sentence}",
        "0 carried out, 1 refused or nobody answered, 2 wrong options, 130 Ctrl-C",
    )
    add_arguments(made, OrderSettings, (*names, "recorder", "timeout"))
    return made


def node_parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla record node``."""
    made = command_parser(
        "smolvla record node",
        "Start the recorder: cameras, joints, commands and a sentence become a LeRobot dataset. "
        "--ros-args may follow, as for every node.",
        "smolvla record node --dataset data/my_task --cameras top wrist",
        "0 ended by Ctrl-C, 1 the dataset could not be closed, 78 wrong parameters",
    )
    add_arguments(made, RecordSettings)
    return made


def node(arguments: Sequence[str]) -> int:
    """Run the recorder until it is interrupted; return its exit status."""
    own = list(arguments)
    ros = own.index("--ros-args") if "--ros-args" in own else len(own)
    given = vars(node_parser().parse_args(own[:ros]))
    from smolvla_learning.record_node.node import main as run

    parameters = [part for name in given for part in ("-p", f"{name}:={written(given[name])}")]
    sys.argv = ["record_node", "--ros-args", *parameters, *own[ros + 1 :]]
    return run()


def _carry_out(order: str, options: OrderSettings, client: RecorderClient, keys: Keys) -> str:
    task = options.task[0] if options.task else ""
    if order == "session":
        wait = SESSION_WAIT if options.wait is None else options.wait
        session = Session(client, options.task, wait, options.keep_scene)
        run_session(session, client, keys)
        return ""
    if order == "start":
        wait = START_WAIT if options.wait is None else options.wait
        return client.start_episode(task, wait, options.seed, not options.keep_scene)
    if order == "save":
        return client.save_episode(options.wait or 0.0)
    if order == "reset":
        return client.new_scene(task, options.seed)
    return client.discard_episode()


def main(arguments: Sequence[str]) -> int:
    """Carry out an order, or those of a session; `arguments` begin with it."""
    order = arguments[0]
    options = from_arguments(OrderSettings, parser(order).parse_args(arguments[1:]))
    if len(options.task) > 1 and order != "session":
        parser(order).error("--task may be given several times only with 'session'")
    namespace, _, recorder = options.recorder.rpartition("/")
    stream = sys.stdin if order == "session" else None
    try:
        with (
            RecorderClient.connect(
                "episode_orders", namespace, recorder=recorder, timeout=options.timeout
            ) as client,
            Keys(stream, lambda: client.spin(0.05)) as keys,
        ):
            message = _carry_out(order, options, client, keys)
        if message:
            print(message)
    except ClientError as error:
        print(f"smolvla record {order}: {error}", file=sys.stderr)
        return NO
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE
