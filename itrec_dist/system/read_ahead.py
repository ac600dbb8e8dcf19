"""Makes the next item of an iterator in a thread while the present one is in use."""

import queue
import threading
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")


def read_ahead(items: Generator[T]) -> Generator[T]:
    """The same items; one is made at a time, and only while a single other one is in use.

    So at most two exist at once. An exception is raised where its item would have come. Closing
    the generator waits for the item that is being made.
    """
    results: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()
    may_make, is_closed = threading.Semaphore(1), threading.Event()

    def make() -> None:
        try:
            while may_make.acquire() and not is_closed.is_set():
                results.put((next(items), None))
        except BaseException as error:  # also its end, which is StopIteration
            results.put((None, error))
        finally:
            items.close()

    thread = threading.Thread(target=make, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = results.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            may_make.release()
            assert item is not None
            yield item
            del item  # before the next one is waited for
    finally:
        is_closed.set()
        may_make.release()
        thread.join()
