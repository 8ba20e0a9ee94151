"""`User`: who asks, and `Limits`: how much they may ask for."""

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

    @property
    def sees(self) -> str | None:
        """Whose tasks and pictures they see, as `fooocus_lite.task_records` takes it; ``None`` is everybody's."""
        return None if self.is_admin else self.name


#: Whoever sits at this computer, where nobody has to say who they are.
LOCAL = User()


@dataclass(frozen=True)
class Limits:
    """How much somebody may ask for; ``None`` is as much as they like.

    Attributes:
        pictures_a_day: Counted from midnight where the server stands. One that ended before it was begun is not.
        megapixels_a_day: Likewise, in 1,000,000 pixels.
        picture_megapixels: Of one picture.
        waiting: Tasks that wait at once.
    """

    pictures_a_day: int | None = None
    megapixels_a_day: float | None = None
    picture_megapixels: float | None = None
    waiting: int | None = None


#: As much as they like.
NO_LIMITS = Limits()
