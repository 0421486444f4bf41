"""How many threads torch uses within one operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """torch limited to one thread of its own, its setting restored afterwards: it belongs to the caller's process.

    The tensors are small. Threads within an operation wait for each other longer than they work, and on busy cores by
    orders of magnitude; threads that work on different nodes or targets do not.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
