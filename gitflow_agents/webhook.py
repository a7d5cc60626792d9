"""Where alerts go beside the forge: one POST of JSON to an address that only the environment knows.

The address is a secret, as whoever has it can write there: no message names it.  What is sent is
tried a few times within seconds and then given up; nothing else waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from gitflow_agents.errors import FlowError, UsageError

VARIABLE = "GITFLOW_WEBHOOK"
"""The environment variable that holds the address."""
SECONDS = 5.0
"""For which a connection, and then an answer, is waited for."""
REPEATS = 2
PAUSE = 0.25
"""Seconds from which the pauses between the tries grow."""
FORGIVEN = (429, 500, 502, 503, 504)
"""Answers after which it is tried again."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class NotDelivered(FlowError):
    """Nobody at the other end has taken it."""


@dataclass(frozen=True)
class Webhook:
    """An address that takes JSON by POST."""

    url: str = field(repr=False)

    def send(self, body: Mapping[str, Any]) -> None:
        """Deliver a JSON object; NotDelivered when nobody has taken it after a few tries."""
        import requests  # it takes long to import, and most have no webhook
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry

        again = Retry(
            total=REPEATS,
            allowed_methods=None,
            status_forcelist=FORGIVEN,
            backoff_factor=PAUSE,
            respect_retry_after_header=False,
            raise_on_status=False,
        )
        with requests.Session() as session:
            session.mount(f"{urlsplit(self.url).scheme}://", HTTPAdapter(max_retries=again))
            try:
                # A redirect is not followed: it could lead to where this machine alone may ask.
                with session.post(
                    self.url, json=body, timeout=SECONDS, allow_redirects=False, stream=True
                ) as answer:
                    code = answer.status_code
            except (requests.RequestException, ValueError) as e:
                # Its words hold the address.
                raise NotDelivered(f"the webhook cannot be reached: {type(e).__name__}") from None
            if not 200 <= code < 300:
                raise NotDelivered(f"the webhook answered {code}")


def webhook(environ: Mapping[str, str]) -> Webhook | None:
    """Return the webhook that the environment names, if it does.

    UsageError where that is no address of https, or of http on this machine.
    """
    url = environ.get(VARIABLE, "").strip()
    if not url:
        return None
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if host and (parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK)):
        return Webhook(url)
    raise UsageError(
        f"{VARIABLE} holds no address that alerts can be sent to",
        hint="it has to begin with https://; http:// goes to this machine alone",
    )


__all__ = ["VARIABLE", "NotDelivered", "Webhook", "webhook"]
