"""What docs/api.md asks of curl, for a machine without it: ``python curl.py [-sSN] [-F name=@file] [-H header]
[-d body] [-o file] ADDRESS``."""

from __future__ import annotations

import getopt
import mimetypes
import sys
import urllib.request
from pathlib import Path

BOUNDARY = "a-boundary-that-no-picture-has"


def form(field: str) -> bytes:
    """A form with one file, for ``name=@file``."""
    name, _, file = field.partition("=@")
    kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
    head = f'Content-Disposition: form-data; name="{name}"; filename="{file}"\r\nContent-Type: {kind}'
    start, end = f"--{BOUNDARY}\r\n{head}\r\n\r\n", f"\r\n--{BOUNDARY}--\r\n"
    return start.encode() + Path(file).read_bytes() + end.encode()


def main() -> None:
    options, (url,) = getopt.gnu_getopt(sys.argv[1:], "sSNF:H:d:o:")
    given = dict(options)
    headers = dict([given["-H"].split(": ", 1)]) if "-H" in given else {}
    body = given["-d"].encode() if "-d" in given else None
    if "-F" in given:
        headers["Content-Type"] = f"multipart/form-data; boundary={BOUNDARY}"
        body = form(given["-F"])
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        data = answer.read()
    if "-o" in given:
        Path(given["-o"]).write_bytes(data)
    else:
        sys.stdout.buffer.write(data)


if __name__ == "__main__":
    main()
