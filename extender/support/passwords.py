"""Passwords in URLs stay hidden: every message, page and log line is written without them."""

from __future__ import annotations

import re
from typing import Final

# The text between `://` and the last `@` of the authority. A password may hold `/` or `@` unescaped: where
# a colon comes before the first slash and no port number follows it, everything up to the last `@` is masked.
_CREDENTIALS: Final = re.compile(r"([A-Za-z][\w+.-]*://)(?:[^\s/@:]*:(?!\d+(?:[/?#\s]|$))\S*@|[^\s/?#]*@)")
_PARAMETER: Final = re.compile(r"([?&](?:\w*(?:password|passwd|secret|token|api_?key))=)[^&\s'\")]*", re.I)


def without_passwords(text: str) -> str:
    """The text with user names, passwords and secret parameters in its URLs masked.

    `postgresql://me:secret@db/books` becomes `postgresql://***@db/books`, and `?password=secret` becomes
    `?password=***`.
    """
    return _PARAMETER.sub(r"\1***", _CREDENTIALS.sub(r"\1***@", text))
