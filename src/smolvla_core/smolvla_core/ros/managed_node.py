# SPDX-License-Identifier: Apache-2.0
"""A managed (lifecycle) node whose subclasses override hooks for the transitions.

``ros2 lifecycle`` works on it as on every managed node. In addition:

* A transition that fails logs the reason in one line, and a node whose configuration failed
  can be configured again with other parameters.
* Parameters are declared once. Those that are `settings.Setting.live` can be set at any time
  and take effect at once; the others can be set while the node is unconfigured and are refused
  with a reason while it is not: they are read when it is configured.
* There is one way down, `ManagedNode.release`, for cleanup, shutdown, errors and the end of
  the process.
* With `background` the transitions run in a thread of their own, so that a node that loads for
  a minute goes on answering meanwhile.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNodeMixin, LifecycleState, TransitionCallbackReturn
from rclpy.node import Node
from rclpy.service import Service
from rclpy.task import Future

from smolvla_core.node_settings import ManagedSettings
from smolvla_core.ros.parameters import Tuning, declare, error_text
from smolvla_core.settings import settings_of

T = TypeVar("T")

UNCONFIGURED, CONFIGURING, INACTIVE = "unconfigured", "configuring", "inactive"
ACTIVE, FINALIZED = "active", "finalized"
JOIN_TIMEOUT = 3.0
"""How long the end of the process waits for a transition that is under way [s]."""


class Background:
    """Runs one piece of work at a time in a thread of its own, and calls back from there.

    Entities of a node (subscriptions, publishers) are made and destroyed in the thread that
    receives: rclpy's executors look at them without a lock.

    Args:
        node: in whose thread `in_ros_thread` runs.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._calls: deque[tuple[Callable[[], Any], ThreadFuture[Any]]] = deque()
        self._lock = threading.Lock()
        self._closed = False
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._called = node.create_guard_condition(self._serve_calls)

    def run(self, work: Callable[[], object]) -> None:
        """Run `work` after what runs already; returns at once."""

        def guarded() -> None:
            with self._busy:
                self._thread = threading.current_thread()
                try:
                    if not self._closed:
                        work()
                except SystemExit:
                    pass  # the node ended meanwhile, and this thread with it
                finally:
                    self._thread = None

        threading.Thread(target=guarded, name="transition", daemon=True).start()

    def serve(self, service: Service[Any, Any]) -> None:
        """Let the callback of `service` run here; its caller gets the answer at the end.

        The service needs a reentrant callback group, else it keeps its group from being served.
        """
        callback = service.callback

        async def answer(request: Any, response: Any) -> Any:
            done: Future[Any] = Future(executor=self._node.executor)

            def work() -> None:
                result = callback(request, response)
                self.call(lambda: done.set_result(result))

            self.run(work)
            return await done

        service.callback = answer  # type: ignore[assignment]

    def in_ros_thread(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread that receives; return what it returns.

        From any other thread than that of `run`, it is simply called.

        Raises:
            CancelledError: the node ends.
        """
        if threading.current_thread() is not self._thread:
            return function()
        return self.call(function).result()

    def call(self, function: Callable[[], T]) -> ThreadFuture[T]:
        """Have `function` called in the thread that receives."""
        result: ThreadFuture[T] = ThreadFuture()
        with self._lock:
            if self._closed:
                result.cancel()
            else:
                self._calls.append((function, result))
                self._called.trigger()
        return result

    def close(self, timeout: float) -> bool:
        """Give up the calls that wait and let what runs end; False where it does not in time."""
        with self._lock:
            self._closed = True
            calls, self._calls = self._calls, deque()
        for _, result in calls:
            result.cancel()
        if not self._busy.acquire(timeout=timeout):
            return False
        self._busy.release()
        return True

    def _serve_calls(self) -> None:
        while True:
            with self._lock:
                if not self._calls:
                    return
                function, result = self._calls.popleft()
            try:
                result.set_result(function())
            except Exception as error:
                result.set_exception(error)


class ManagedNode(LifecycleNodeMixin, Node):
    """Base of the managed nodes; see the module.

    Subclasses override `configure`, `check`, `tune`, `activate`, `deactivate`, `release` and
    `phase_changed`.

    Args:
        name: of the node.
        settings: class of the node's parameters.
        background: whether transitions that are asked for through services run in a thread.
        node_options: of `rclpy.node.Node`.

    Attributes:
        phase: one of the constants of this module.
        problem: reason why the newest configuration failed; empty when it did not.
        starts_itself: whether it is on its way to be active without anybody's doing.
        failed: whether the process shall end with an error.
        misconfigured: whether `problem` is a mistake in the parameters: a new start with the same
            ones would fail again.
        abandoned: whether `destroy_node` left a thread behind that does not end.

    Raises:
        ValueError: a parameter is none of its choices; the text names it.
    """

    def __init__(
        self,
        name: str,
        settings: type[ManagedSettings],
        *,
        background: bool = False,
        **node_options: Any,
    ) -> None:
        # First what `destroy_node` needs.
        self.phase = UNCONFIGURED
        self.problem = ""
        self.failed = self.misconfigured = self.abandoned = self._ending = False
        self.starts_itself = False
        self._background: Background | None = None
        Node.__init__(self, name, **node_options)
        # A waiting transition would keep the others of its group from being served.
        group = ReentrantCallbackGroup() if background else None
        LifecycleNodeMixin.__init__(self, callback_group=group)
        if background:
            self._background = Background(self)
            self._background.serve(self._service_change_state)
        declare(self, settings, settable=True)
        self._tuning = Tuning(
            self,
            settings,
            check=self.check,
            take=self.tune,
            refusal=self.reconfigure_first,
            in_use=lambda: self.phase not in (UNCONFIGURED, FINALIZED),
        )
        self.starts_itself = bool(self.get_parameter("autostart").value)

    # What subclasses do.

    def configure(self, settings: Any) -> None:
        """Take up the parameters; what it raises is logged, and the node stays unconfigured."""

    def check(self, settings: Any, changed: set[str]) -> None:
        """Raise ValueError where what `configure` made cannot take `settings` at once.

        Args:
            settings: all parameters, as they would be.
            changed: names of those that change.
        """

    def tune(self, settings: Any, names: set[str]) -> None:
        """Let what there is take new settings, which `check` let pass; in the thread of ROS.

        Args:
            settings: all parameters.
            names: of those that were set, maybe to what they were.
        """

    def activate(self) -> None:
        """Begin to act."""

    def deactivate(self) -> None:
        """Stop acting, at once."""

    def release(self) -> None:
        """Let go of all that `configure` made, also of half of it; may be called twice."""

    def phase_changed(self) -> None:
        """Publish or log `phase`; called from any thread."""

    def finish(self) -> bool:
        """Finish, before the process ends, what others wait for; asked until it says False.

        Returns:
            Whether the node must still receive and send for that.
        """
        return False

    # For subclasses and for who runs the node.

    @property
    def hint(self) -> str:
        """What to do to make the node active; empty when it is.

        Nothing is to be done while it starts by itself.
        """
        on_its_way = self.phase in (UNCONFIGURED, CONFIGURING, INACTIVE)
        if self.starts_itself and on_its_way and not self.problem:
            return f"{self.get_name()} is still loading"
        name = self.get_name()
        if self._ending:
            return f"{name} ends"
        reason = f" ({self.problem})" if self.problem else ""
        return {
            UNCONFIGURED: f"{name} is unconfigured{reason}: {self.order('configure', 'activate')}",
            CONFIGURING: f"{name} is still loading",
            INACTIVE: f"{name} is inactive: {self.order('activate')}",
            ACTIVE: "",
            FINALIZED: f"{name} was shut down: start its process anew",
        }[self.phase]

    def order(self, *transitions: str) -> str:
        """Return how to have the node make `transitions`: with ``ros2`` where that is."""
        if not shutil.which("ros2"):
            return f"{' and '.join(transitions)} it"
        steps = ", then ".join(transitions)
        return f"ros2 lifecycle set {self.get_fully_qualified_name()} {steps}"

    def start_up(self) -> None:
        """Configure and activate where the parameter autostart says so, else log how to."""
        if not self.get_parameter("autostart").value:
            self.get_logger().info(f"{self.hint}; or start it with autostart:=true")
        elif self._background is None:
            self._autostart()
        else:
            self._enter(CONFIGURING)
            self._background.run(self._autostart)

    def reconfigure_first(self, name: str) -> str:
        """Return why the parameter `name` cannot be set now, and what to do; empty when it can."""
        if self.phase in (UNCONFIGURED, FINALIZED):
            return self.hint if self.phase == FINALIZED else ""
        full = self.get_fully_qualified_name()
        first, steps = "deactivate and clean up", ["deactivate", "cleanup"]
        again = ", configure and activate"
        loading = self.phase == CONFIGURING
        if self.phase == INACTIVE or (loading and not self._tuning.values["autostart"]):
            first, steps, again = "clean up", ["cleanup"], " and configure"
        command = f" ({self.order(*steps)})" if shutil.which("ros2") else ""
        return (
            f"{self.get_name()} is {self.phase} and reads '{name}' when it is configured: "
            f"{'once it has loaded, ' if loading else ''}{first} {full} first{command}, "
            f"then set it{again} again"
        )

    def use_settings(self, settings: type[ManagedSettings]) -> None:
        """Have the parameters of another class from now on; in the thread of ROS.

        Raises:
            see `Tuning.declare`.
        """
        self._tuning.declare(settings)

    def in_ros_thread(self, function: Callable[[], T]) -> T:
        """Run `function` in the thread that receives, from wherever; return what it returns.

        Raises:
            CancelledError: the node ends.
        """
        return function() if self._background is None else self._background.in_ros_thread(function)

    def destroy_node(self) -> None:
        """Let a transition that is under way end, release everything, destroy the node."""
        self._ending = True
        try:
            if self._background is None or self._background.close(JOIN_TIMEOUT):
                self.release()
            else:
                self.abandoned = True
        finally:
            super().destroy_node()
            # rclpy leaves it to the garbage collector, and with it a publisher and the participant
            # of DDS: a process that exits at once would leave its shared memory behind.
            if machine := getattr(self, "_state_machine", None):
                machine.destroy_when_not_in_use()

    # The state machine of ROS.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure; on failure log the reason and stay unconfigured."""
        self.problem, self.misconfigured = "", False
        self._enter(CONFIGURING)
        try:
            settings = self._tuning.settings
            self.configure(settings)
            self.in_ros_thread(lambda: self._catch_up(settings))
        except Exception as error:
            self.problem = error_text(error)
            self.misconfigured = isinstance(error, ValueError)
        if self._ending:
            self.release()
            self._end_with_node()
        if self.problem:
            self.get_logger().error(f"cannot be configured: {self.problem}")
            return self._leave(TransitionCallbackReturn.FAILURE)
        self._enter(INACTIVE)
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate."""

        def activate() -> None:
            super(ManagedNode, self).on_activate(state)  # enables the managed publishers
            self.activate()

        return self._attempt("activated", activate, ACTIVE)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate."""
        return self._attempt("deactivated", lambda: self._halt(state), INACTIVE)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; then the parameters may be set again."""
        return self._attempt("cleaned up", self.release, UNCONFIGURED)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, for good."""

        def shut_down() -> None:
            if self.phase == ACTIVE:
                self._halt(state)
            self.release()

        return self._attempt("shut down", shut_down, FINALIZED)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything after a transition that broke; it may be configured again."""
        return self._leave(TransitionCallbackReturn.SUCCESS)

    def _attempt(
        self, what: str, function: Callable[[], None], phase: str
    ) -> TransitionCallbackReturn:
        """Run `function` and enter `phase`; ROS calls `on_error` where it breaks."""
        problem = ""
        try:
            function()
        except Exception as error:  # rclpy would swallow it
            problem = f"it could not be {what}: {error_text(error)}"
        self._end_with_node()
        if problem:
            self.problem = problem
            self.get_logger().error(problem)
            return TransitionCallbackReturn.ERROR
        self._enter(phase)
        return TransitionCallbackReturn.SUCCESS

    def _end_with_node(self) -> None:
        """End this thread where the node ended meanwhile: its state machine is no more."""
        if self._ending:
            raise SystemExit

    def _halt(self, state: LifecycleState) -> None:
        super().on_deactivate(state)  # disables the managed publishers first: nothing goes out
        self.deactivate()

    def _leave(self, result: TransitionCallbackReturn) -> TransitionCallbackReturn:
        """Release what a broken transition has left; return `result`."""
        try:
            self.release()
        except Exception as error:
            self.get_logger().error(f"could not release everything: {error_text(error)}")
        self._enter(UNCONFIGURED)
        return result

    def _catch_up(self, settings: Any) -> None:
        """Take what was set while the node was configured with `settings`."""
        newest = self._tuning.settings
        changed = {
            name
            for name in settings_of(newest)
            if getattr(newest, name) != getattr(settings, name)
        }
        if changed:
            try:
                self.check(newest, changed)
            except ValueError as error:
                self.get_logger().warning(f"set too early, while the node was loading: {error}")
            self.tune(newest, changed)

    def _enter(self, phase: str) -> None:
        self.phase = phase
        self.phase_changed()

    def _autostart(self) -> None:
        done = TransitionCallbackReturn.SUCCESS
        started = self.trigger_configure() == done and self.trigger_activate() == done
        self.starts_itself = False
        if started:
            return
        self.failed = True
        if self._background is None:
            self.context.try_shutdown()
        else:
            self._background.call(self.context.try_shutdown)
