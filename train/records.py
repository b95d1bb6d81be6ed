"""Records of a long measurement: one line of JSON for each picture, written when it is finished, found again when the
command is repeated."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

Record = dict[str, Any]


def read_records(path: Path, key: str, field: str) -> dict[Any, Record]:
    """Finished pictures with this key, by the field that tells them apart; a line cut off by a crash is passed
    over."""
    records = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if record["key"] == key:
            records[record[field]] = record
    return records


def append_record(path: Path, record: Record) -> None:
    """Add one line, on a line of its own even if the last one was cut off."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cut_off = path.exists() and not path.read_bytes().endswith(b"\n") and path.stat().st_size > 0
    with open(path, "a", encoding="utf-8") as file:
        file.write(("\n" if cut_off else "") + json.dumps(record) + "\n")


def complete(
    path: Path,
    key: str,
    items: Iterable[Any],
    measure: Callable[[Any], Record | None],
    max_minutes: float | None = None,
    field: str = "seed",
) -> list[Record]:
    """Records of all items in order: those on file as they are, the others measured and written at once.

    Stops early, with a prefix of the items, after ``max_minutes`` or on Ctrl-C.

    Args:
        path: the file of records.
        key: names what a record depends on beside its item; records of other keys stay and are not looked at.
        items: seeds or names.
        measure: gives an item's record, which holds the item under ``field``; None leaves the item out.
        max_minutes: wall clock; an item that was begun is finished.
        field: what an item is called in its record.
    """
    done, began, records = read_records(path, key, field), time.monotonic(), []
    try:
        for item in tqdm(list(items), unit="picture", file=sys.stderr):
            if item not in done:
                if max_minutes is not None and time.monotonic() - began > 60 * max_minutes:
                    break
                measured = measure(item)
                if measured is None:
                    continue
                done[item] = {"key": key, **measured}
                append_record(path, done[item])
            records.append(done[item])
    except KeyboardInterrupt:
        print("stopped; the summary is of the pictures finished so far", file=sys.stderr)
    return records
