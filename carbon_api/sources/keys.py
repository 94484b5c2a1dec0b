"""Keys of providers: read from files, on use, and shown nowhere."""

from __future__ import annotations

from pathlib import Path

from carbon_api.readings import Missing, Reason

_LONGEST_BYTES = 16_384


class KeyFile:
    """A key in a file, as Kubernetes mounts a Secret. A replaced file counts from the next use."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> str | Missing:
        """The key, or why there is none. The text of a `Missing` never holds it."""
        try:
            with self.path.open("rb") as file:
                raw = file.read(_LONGEST_BYTES + 1)
        except OSError as problem:
            return Missing(Reason.NO_CREDENTIALS, f"{self.path}: {problem.strerror or 'cannot be read'}")
        try:
            key = raw.decode("ascii").strip()
        except UnicodeDecodeError:
            return Missing(Reason.NO_CREDENTIALS, f"{self.path} does not hold a key: not plain ASCII")
        if not key or len(raw) > _LONGEST_BYTES or not key.isprintable() or " " in key:
            return Missing(
                Reason.NO_CREDENTIALS, f"{self.path} must hold the key on one line and nothing else"
            )
        return key

    def __repr__(self) -> str:
        return f"KeyFile({str(self.path)!r})"
