# SPDX-License-Identifier: Apache-2.0
"""Files of ours that stand for the user's while a command runs: whatever is said of them names the user's.

The last messages are printed when the files are gone, so names are kept until the next command begins.
"""

from __future__ import annotations

_USERS: dict[str, str] = {}


def stands_for(ours: str, users: str) -> str:
    """Speak of `users` wherever the path `ours` would be said; gives `ours` back."""
    _USERS[ours] = users
    return ours


def in_users_names(text: str) -> str:
    """A message without paths of ours."""
    for ours, users in _USERS.items():
        text = text.replace(ours, users)
    return text


def forget_names() -> None:
    """A command begins."""
    _USERS.clear()
