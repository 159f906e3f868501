"""Server-sent events: bytes in, the data of events out. Pure.

Only what a model stream needs: ``data`` fields, comments skipped, other fields ignored. Bytes may come in any
pieces, down to single ones and through the middle of a character or of a CRLF; lines are cut as bytes and
decoded whole.
"""

from __future__ import annotations

MAX_LINE_BYTES = 16 * 1024 * 1024
BOM = b"\xef\xbb\xbf"


class StreamTooLong(ValueError):
    """One event is longer than any model's chunk can be; the peer is broken or hostile. Field: ``limit_bytes``."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"a line of the stream is longer than {limit_bytes} bytes")


class EventStream:
    """The decoder of one response body.

    Args:
        limit_bytes: longest line, and longest event (all its data lines together).
    """

    def __init__(self, *, limit_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = limit_bytes
        self._pending = bytearray()  # an unfinished line
        self._data: list[str] = []
        self._size = 0
        self._skip_newline = False  # the last byte was CR: a LF that follows belongs to the same line end
        self._first = True

    def feed(self, chunk: bytes) -> list[str]:
        """Take some bytes; the data of each event that they complete.

        Raises:
            StreamTooLong: a line or an event passes the limit. The decoder cannot go on.
        """
        events: list[str] = []
        if not chunk:
            return events
        ends_with_cr = chunk.endswith(b"\r")
        if self._skip_newline:
            chunk = chunk.removeprefix(b"\n")
        # splitlines() of bytes ends lines at LF, CR and CRLF, which are exactly the line ends of the format.
        for line in chunk.splitlines(keepends=True):
            body = line.rstrip(b"\r\n")
            if len(self._pending) + len(body) > self._limit:
                raise StreamTooLong(self._limit)
            if len(body) == len(line):  # its end is still to come
                self._pending += body
            elif self._pending:
                complete = bytes(self._pending + body)
                self._pending.clear()
                self._line(complete, events)
            else:
                self._line(body, events)
        self._skip_newline = ends_with_cr
        return events

    def close(self) -> list[str]:
        """The stream ended. An event without its empty line is taken all the same: servers forget it."""
        events: list[str] = []
        if self._pending:
            self._line(bytes(self._pending), events)
            self._pending.clear()
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[str]) -> None:
        if self._first:
            line, self._first = line.removeprefix(BOM), False
        if not line:
            if self._data:
                events.append("\n".join(self._data))
            self._data, self._size = [], 0
            return
        name, colon, value = line.partition(b":")
        if name != b"data":  # a comment (empty name), or event, id, retry
            return
        value = value.removeprefix(b" ") if colon else b""
        self._size += len(value)
        if self._size > self._limit:
            raise StreamTooLong(self._limit)
        self._data.append(value.decode("utf-8", errors="replace"))
