# SPDX-License-Identifier: Apache-2.0
"""Long work of a node beside the thread that receives, and back into that thread.

Entities of a node (subscriptions, publishers) are made and destroyed in the thread that
receives: rclpy's executors look at them without a lock.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

from rclpy.node import Node
from rclpy.service import Service
from rclpy.task import Future

T = TypeVar("T")


class Background:
    """Runs one piece of work at a time in a thread of its own.

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
