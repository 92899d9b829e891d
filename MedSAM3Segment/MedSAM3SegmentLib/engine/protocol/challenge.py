"""How a service shows that it knows the token, before a client tells it anything."""

from __future__ import annotations

import hashlib
import hmac

#: The only path that needs no token.
HELLO = "/hello"


def challenge_response(token: str, challenge: str) -> str:
    """What only somebody who knows the token can answer to a challenge."""
    return hmac.new(token.encode(), f"medsam3 engine {challenge}".encode(), hashlib.sha256).hexdigest()
