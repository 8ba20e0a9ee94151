"""`User`: who asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    """Somebody who may use this program.

    Attributes:
        name: Empty where there are no users: then whoever sits at this computer is the one.
        is_admin: Sees and may change what everybody asked for.
    """

    name: str = ""
    is_admin: bool = True


#: Whoever sits at this computer, where nobody has to say who they are.
LOCAL = User()
