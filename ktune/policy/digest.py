"""The digest of a policy: sha256 over its canonical form, everything but the digest itself.

Canonical is the parsed tree (YAML 1.2 scalars, before any default is filled in) as JSON with
sorted keys: comments, order and spacing may change, no value, key or type may.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

FIELD = "digest"


def canonical(tree: Mapping[str, object]) -> bytes:
    """The bytes that are hashed. Raises ValueError for numbers that JSON lacks (nan, inf)."""
    body = {key: value for key, value in tree.items() if key != FIELD}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest_of(tree: Mapping[str, object]) -> str:
    """`sha256:` and 64 hexadecimal digits."""
    return "sha256:" + hashlib.sha256(canonical(tree)).hexdigest()


def matches(tree: Mapping[str, object]) -> bool:
    """Does the digest that the tree carries belong to it?"""
    return hmac.compare_digest(str(tree.get(FIELD, "")), digest_of(tree))
