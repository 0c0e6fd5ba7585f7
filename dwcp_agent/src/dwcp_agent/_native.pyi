"""The compiled core. Buffers are taken as they are, never copied; calls on more than 32 KiB let other Python threads run.

A kernel has several paths, all with the same result; what ends in ``_on`` takes the name of one of :func:`available`.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar

from typing_extensions import Buffer

T = TypeVar("T")

class HasFileno(Protocol):
    def fileno(self) -> int: ...

PHASE4: bool
INSTRUCTION_SETS: tuple[str, ...]

def crc32c(data: Buffer, value: int = 0, /) -> int:
    """CRC-32C (Castagnoli) of ``data``, going on from ``value``, the checksum of what was before."""

def crc32c_on(path: str, data: Buffer, value: int = 0, /) -> int: ...
def page_sums(data: Buffer, page_size: int = 4096, /) -> bytes:
    """The CRC-32C of every page, as 32-bit numbers of this machine one after the other; the last page may be short. Raises ValueError."""

def is_zero(data: Buffer, /) -> bool:
    """True when every byte is zero; of nothing, too."""

def is_zero_on(path: str, data: Buffer, /) -> bool: ...
def is_equal(left: Buffer, right: Buffer, /) -> bool:
    """True when both hold the same bytes. Raises ValueError when they differ in length."""

def is_equal_on(path: str, left: Buffer, right: Buffer, /) -> bool: ...
def zero_runs(data: Buffer, page_size: int = 4096, /) -> list[tuple[int, int]]:
    """Runs (first page, pages) of pages that are all zero, ascending; the last page may be short."""

def equal_runs(left: Buffer, right: Buffer, page_size: int = 4096, /) -> list[tuple[int, int]]:
    """Runs (first page, pages) of pages that are the same in both. Raises ValueError when the buffers differ in length."""

def xor_into(out: Buffer, left: Buffer, right: Buffer, /) -> None:
    """``out = left ^ right``, byte by byte. ``out`` may be one of the two.

    Raises ValueError when lengths differ or ``out`` overlaps one without being it.
    """

def xor_into_on(path: str, out: Buffer, left: Buffer, right: Buffer, /) -> None: ...
def chunk_ends(data: Buffer, average: int, *, least: int = 0, most: int = 0, final: bool = True) -> list[int]:
    """Offsets at which content-defined chunks of ``data`` end, ascending, one after the other from 0.

    An insertion or a removal changes the chunks around it and no others. ``average`` is from 256 B to 16 MiB; no chunk but the last is
    shorter than ``least`` (a quarter of it by default, at least 64), none longer than ``most`` (four times). With ``final`` the last end is
    ``len(data)``; without, the rest behind the last sure end is to be passed again, with what follows it. Gear hash with normalised
    chunking as in FastCDC; the same ends on every path, machine and version. Raises ValueError.
    """

def chunk_ends_on(path: str, data: Buffer, average: int, *, least: int = 0, most: int = 0, final: bool = True) -> list[int]: ...
def round_to_step(data: Buffer, width: int, step: int, error: float, /) -> None:
    """Rounds numbers of ``width`` bytes (4 or 8; IEEE 754, of this machine's byte order) in place, to multiples of 2^``step``, to even.

    What is no larger than ``error``, which is from half of that to all of it, becomes 0 with its sign. Zeros, denormals, infinities and
    NaNs stay as they are, and so does what would become infinite. Raises ValueError when the bytes are no whole number of items.
    """

def round_to_fraction(data: Buffer, width: int, kept: int, /) -> None:
    """As :func:`round_to_step`, to ``kept`` bits of the fraction beside the one that is not stored."""

def select(disabled: Sequence[str], /) -> None:
    """Chooses the best path of every kernel that needs none of ``disabled``; names that are no instruction set are passed over."""

def active() -> dict[str, str]: ...
def available() -> dict[str, tuple[str, ...]]: ...

# Absent when built with DWCP_PHASE4=0.
def pin_thread(cpus: Sequence[int], /) -> None:
    """Pins the calling thread. Raises OSError when the kernel refuses, ValueError for no CPU number."""

def send_many(socket: HasFileno | int, buffers: Iterable[Buffer], /) -> int:
    """Sends ``buffers`` one after the other in few system calls; how many bytes went in: all on a blocking socket, on another at least one.
    Raises OSError (BlockingIOError when the socket takes nothing now)."""

def prefer_node(node: int | None, /) -> None:
    """The calling thread's new pages come from NUMA node ``node`` while it has room; None: from where the thread runs. Raises OSError (some
    containers forbid it), ValueError."""

def place_on_node(data: Buffer, node: int, /) -> None:
    """Pages of ``data`` (writable, whole pages only) that are touched from now on come from ``node`` while it has room. Raises OSError,
    ValueError."""

def node_of(data: Buffer, /) -> int:
    """The NUMA node of the first page of ``data``, as the kernel says. Raises OSError."""

class _Channel(Generic[T]):
    """What Queue, Ring and Stack have in common. ``timeout`` is in seconds: None waits for ever, 0 not at all.

    ``waiting`` is how many threads sleep in it now. An item that refers to the channel it is in is not found by the garbage collector.
    """

    def __init__(self, capacity: int) -> None:
        """Room for ``capacity`` objects (1 to 2**30); a Queue's and a Ring's is rounded up to a power of two."""

    capacity: int
    closed: bool
    waiting: int
    def __len__(self) -> int: ...
    def push(self, item: T, /, timeout: float | None = None) -> bool:
        """True when it went in; False when the time was up or the channel is closed."""

    def push_many(self, items: Iterable[T], /, timeout: float | None = None) -> int:
        """How many went in, from the first on: all, unless the time was up or the channel is closed."""

    def pop(self, timeout: float | None = None) -> T:
        """The next item. Raises IndexError when the time was up, or it is empty and closed."""

    def pop_many(self, most: int, /, timeout: float | None = None) -> list[T]:
        """Up to ``most`` items; waits for the first and takes what is there then. Empty when the time was up, or it is empty and closed."""

    def close(self) -> None:
        """Nothing goes in any more, what is in comes out, and everyone who waits is woken."""

class Queue(_Channel[T]):
    """First in, first out, for any number of threads."""

class Ring(_Channel[T]):
    """First in, first out; in native code for one thread that pushes and one that pops."""

class Stack(_Channel[T]):
    """Last in, first out, for any number of threads."""

class PooledBuffer(Buffer):
    """Memory of the pool, writable, with undefined content; it goes back when the object does."""

    def __len__(self) -> int: ...
    def release(self) -> None:
        """Gives the memory back now; nothing when it was already. Raises BufferError while a view of it is in use."""

def pool_take(size: int, /) -> PooledBuffer:
    """A buffer of ``size`` bytes (1 B to 1 TiB), aligned to 64. Raises ValueError, MemoryError."""

def pool_warm(size: int, count: int, /) -> None:
    """Makes ``count`` buffers of ``size`` bytes (up to 4 MiB) ready for whichever thread comes, their pages touched."""

def pool_flush() -> None:
    """Puts the calling thread's idle buffers where any thread finds them, and where :func:`pool_trim` does."""

def pool_trim(keep: int = 0, /) -> int:
    """Returns the pages of idle buffers to the kernel, those of other threads' caches and of ``keep`` buffers of each size excepted; says
    how many bytes that are. Raises ValueError."""

def pool_poison() -> None:
    """From now on a write to an idle buffer ends the process when that buffer is taken again. Raises OSError once the pool is in use."""

def pool_statistics() -> dict[str, int]:
    """Takes by where they came from (``from_thread``, ``from_shared``, ``from_fresh``, ``oversize``), and ``given`` back; bytes
    ``live_asked`` for and ``live`` in buffers that are out; bytes ``mapped``, and ``resident`` as the kernel says now; ``huge``: huge
    pages were asked for and not refused.
    """

class FileSender:
    """Sends files into sockets without copies where socket and file allow it: ``sendfile``, else ``splice``, else ``copy``."""

    def __init__(self, first: str | None = None) -> None:
        """Begins with ``first``; without, each request chooses: splice from 256 KiB on, sendfile below.

        Raises ValueError for another word.
        """

    via: str
    moved: dict[str, int]
    def send(self, socket: HasFileno | int, file: HasFileno | int, offset: int, count: int, /) -> int:
        """Sends up to ``count`` bytes of ``file`` from ``offset``; how many went in, 0 at the file's end.

        Raises OSError (BlockingIOError when the socket takes nothing now), ValueError, RuntimeError while another thread is in it.
        """

class ZeroCopySender:
    """Sends memory by MSG_ZEROCOPY. Where the kernel copies anyway it notices (16 completions) and sends plainly from then on.

    One for a socket. Memory that the kernel still reads when it goes is never used again: :meth:`flush` first.
    """

    def __init__(self, socket: HasFileno | int, wanted: bool = True) -> None:
        """Asks the socket for it; where it says no, or it is not ``wanted``, sends are plain."""

    on: bool
    def send(self, data: Buffer, /) -> int:
        """How many bytes of ``data`` went in. It is kept, and must not change, until :meth:`flush` says so. Raises OSError."""

    def flush(self, timeout: float = -1, /) -> bool:
        """True when the kernel is done with everything sent, False when ``timeout`` seconds were not enough (below 0: no limit)."""

    def statistics(self) -> dict[str, int]:
        """Sends ``outstanding``, ``completed``, of those ``copied`` after all, and ``plain`` ones."""
