"""The file of a run: whole at any moment, and what a later run goes on from.

    {"machine": ..., "versions": ..., "settings": {"quick": ...},
     "outcomes": {record: {"seconds": ..., "error": null or a sentence}},
     "records": [entries, each with "record" and "device"]}

Read `driver.py` next.
"""

import json
import pathlib
from typing import Any

from floors import floor_seconds, measured_rates
from harness import write_json


class Report:
    """Entries and outcomes, written to the file at every change."""

    def __init__(self, path: pathlib.Path, settings: dict[str, Any]):
        """Read what the file holds already.

        Raises:
            SystemExit: it was written with other settings.
        """
        self.path = path
        self.content: dict[str, Any] = {"machine": {}, "versions": {}, "settings": settings}
        self.content |= {"outcomes": {}, "records": []}
        if path.exists():
            self.content |= json.loads(path.read_text(encoding="utf-8"))
            if self.content["settings"] != settings:
                raise SystemExit(
                    f"{path} must hold figures of the settings {settings}, got {self.content['settings']}; "
                    "give another file."
                )

    def introduce(self, machine: dict[str, Any], versions: dict[str, str]) -> None:
        """Note the machine and the versions.

        Raises:
            SystemExit: the file holds figures of another device.
        """
        before = self.content["machine"].get("device", machine["device"])
        if before != machine["device"]:
            raise SystemExit(
                f"{self.path} must hold figures of one device, got {before!r} and {machine['device']!r}; "
                "give another file."
            )
        self.content |= {"machine": machine, "versions": versions}
        self._write()

    def is_done(self, name: str) -> bool:
        """Whether a record was measured whole; one that was cut, or of which a case failed, is measured again."""
        outcome = self.content["outcomes"].get(name)
        entries = [entry for entry in self.content["records"] if entry["record"] == name]
        failed = any("error" in entry for entry in entries)
        return outcome is not None and outcome["error"] is None and not failed

    def begin(self, name: str) -> None:
        """Forget what an earlier run found of this record."""
        kept = [entry for entry in self.content["records"] if entry["record"] != name]
        self.content["records"] = kept

    def add(self, name: str, entry: dict[str, Any]) -> dict[str, Any]:
        """Keep an entry, with its floor at the rates that were measured before it; returns it as kept."""
        entry = {"record": name, "device": self.content["machine"].get("device"), **entry}
        rates = measured_rates(self.content["records"])
        if rates and "operations" in entry:
            work = (entry["operations"], entry["num_bytes"], entry["kind"])
            entry["floor_seconds"] = floor_seconds(*work, rates)
            entry["launch_seconds"] = rates.launch
        self.content["records"].append(entry)
        self._write()
        return entry

    def end(self, name: str, seconds: float | None, error: str | None) -> None:
        """Keep how a record ended."""
        self.content["outcomes"][name] = {"seconds": seconds, "error": error}
        self._write()

    def _write(self) -> None:
        write_json(self.path, self.content)
