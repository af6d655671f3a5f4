"""CSV records with the line each began on; a broken record costs itself and nothing after it."""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from domain.catalog import RejectedRow

LINE_CHARS_MAX = 1 << 20
RECORD_CHARS_MAX = 1 << 22
_UNDECODED = re.compile("[\udc80-\udcff]")  # how errors="surrogateescape" marks a bad byte


@dataclass(frozen=True, slots=True, kw_only=True)
class CsvRecord:
    """The cells of one record and the 1-based physical line on which it began."""

    line: int
    cells: list[str]


class _RecordTooLongError(Exception):
    pass


class _LineFeed:
    """Hands lines to the CSV reader, remembers those of the record in the making, takes them back."""

    def __init__(self, lines: TextIO) -> None:
        self._lines = lines
        self._returned: deque[str] = deque()
        self._taken: list[str] = []
        self._chars = 0
        self.first_line = 1

    def __iter__(self) -> _LineFeed:
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else self._read()
        if not line:
            raise StopIteration
        self._taken.append(line)
        self._chars += len(line)
        if len(line) >= LINE_CHARS_MAX or self._chars > RECORD_CHARS_MAX:
            raise _RecordTooLongError
        return line

    def begin_record(self) -> None:
        self.first_line += len(self._taken)
        self._taken.clear()
        self._chars = 0

    def keep_only_first_line(self) -> None:
        """The record was broken: give back all its lines but the first, to be read anew."""
        self._returned.extendleft(reversed(self._taken[1:]))
        del self._taken[1:]

    def undecoded_byte(self) -> tuple[int, int] | None:
        """The line and value of the record's first byte that was not UTF-8."""
        for offset, line in enumerate(self._taken):
            if not line.isascii() and (found := _UNDECODED.search(line)):
                return self.first_line + offset, ord(found[0]) - 0xDC00
        return None

    def _read(self) -> str:
        try:
            line = self._lines.readline(LINE_CHARS_MAX)
            tail = line
            while len(tail) == LINE_CHARS_MAX and tail[-1] not in "\r\n":
                tail = self._lines.readline(LINE_CHARS_MAX)
        except UnicodeDecodeError as error:
            last = self.first_line + len(self._taken) - 1
            raise ValueError(
                f"byte 0x{error.object[error.start]:02x} somewhere after line {last} is not UTF-8;"
                f" save the file as CSV UTF-8 and import it again"
            ) from error
        return line


def read_records(lines: TextIO) -> Iterator[CsvRecord | RejectedRow]:
    """The records of a comma-separated file in order; one that cannot be read is a RejectedRow.

    Open the file with `newline=""` and `errors="surrogateescape"`, so that a byte that is not
    UTF-8 costs its record and not the file. Blank lines are skipped. Memory is bounded by one
    record of at most RECORD_CHARS_MAX characters. Raises ValueError if `lines` itself decodes
    strictly and meets such a byte.
    """
    feed = _LineFeed(lines)
    reader = csv.reader(feed, strict=True)
    while True:
        feed.begin_record()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            feed.keep_only_first_line()
            yield RejectedRow(line=feed.first_line, reason=f"the row is not valid CSV: {error}")
            continue
        except _RecordTooLongError:
            feed.keep_only_first_line()
            yield RejectedRow(
                line=feed.first_line,
                reason=f"the row is longer than {LINE_CHARS_MAX:,} characters in a line"
                f" or {RECORD_CHARS_MAX:,} in all",
            )
            continue
        if undecoded := feed.undecoded_byte():
            line, byte = undecoded
            reason = f"line {line} has the byte 0x{byte:02x}, which is not UTF-8; save as CSV UTF-8"
            yield RejectedRow(line=feed.first_line, reason=reason)
        elif cells:
            yield CsvRecord(line=feed.first_line, cells=cells)
