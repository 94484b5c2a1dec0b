"""docs/settings.md, made from the models."""

from __future__ import annotations

import inspect
from itertools import groupby
from typing import Final

import yaml

from extender.settings.options import Option, options
from extender.settings.renamed import FIXED, RENAMED
from extender.settings.root import Settings

_HEAD: Final = """\
# Settings

`carbon-scheduler settings --markdown` writes this page; do not edit it.

Settings are in groups. The YAML file that `--config` names has a map for each group:

```yaml
http:
  port: 8420
  tls:
    cert_file: /etc/carbon-scheduler/tls/tls.crt
```

A flag overrides an environment variable, which overrides the file, which overrides the default:

| where | spelling of `http.tls.cert_file` |
|---|---|
| flag of `carbon-scheduler serve` | `--http.tls.cert-file`: dots between groups, dashes within names |
| environment variable | `CARBON_SCHEDULER_HTTP__TLS__CERT_FILE`: two underscores between groups |
| file | `cert_file` in `tls` in `http` |

In flags and variables, write lists and maps as YAML; names in a list may also be separated by commas.
Switches take a flag without a word: `--cap.enabled` or `--no-cap.enabled`.

An unknown name in the file or as a flag and a value that is not usable stop the start; the message names
the setting and the fix. An unknown variable that begins with `CARBON_SCHEDULER_` gets a warning in the log.

`carbon-scheduler settings` prints the settings in force.
"""

_FOOT: Final = """\
## Not a setting

`CARBON_SCHEDULER_CRASH_AT` names a point at which the process kills itself; durability tests use it
(`extender/support/crash_points.py`).
"""


def markdown() -> str:
    """The page."""
    parts = [_HEAD]
    for group, members in groupby(options().values(), key=lambda option: option.path[0]):
        model = Settings.model_fields[group].annotation
        parts += [
            f"## `{group}`\n",
            f"{inspect.getdoc(model)}\n",
            "| setting | default | meaning |",
            "|---|---|---|",
        ]
        parts += [_row(option) for option in members]
        parts.append("")
    parts += [
        "## Old names\n",
        "The service refuses these names and says the new one.\n",
        "| old name | now |",
        "|---|---|",
    ]
    parts += [f"| `{old}` | `{new}` |" for old, new in RENAMED.items()]
    parts += [f"| `{old}` | no longer a setting: {constant} |" for old, constant in FIXED.items()]
    parts += ["", _FOOT]
    return "\n".join(parts)


def _row(option: Option) -> str:
    default: object = Settings()
    for part in option.path:
        default = getattr(default, part)
    if default is None:
        shown = "unset"
    else:
        value = list(default) if isinstance(default, tuple) else default
        plain = str(value) if isinstance(value, str) else value
        shown = f"`{yaml.safe_dump(plain, default_flow_style=True).strip().removesuffix('...').strip()}`"
    return f"| `{option.name}` | {shown} | {option.field.description} |"
