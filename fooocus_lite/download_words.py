"""How far a download is, in words: the same in the page's lists, in a terminal and in answers to programs."""

from __future__ import annotations

from fooocus_lite.download_state import Download, size_text


def progress_words(download: Download) -> str:
    """Such as "2.1 of 6.9 GB, 4 min left", "paused at 2.1 of 6.9 GB", or what is wrong."""
    share = share_text(download.done_bytes, download.total_bytes)
    match download.state:
        case "failed":
            return download.problem
        case "finished":
            return "all there"
        case "waiting":
            return f"{share}, begins soon" if download.done_bytes else "begins soon"
        case "paused":
            return f"paused at {share}"
        case "checking":
            return f"{share}, checking it"
        case "running":
            if download.problem:  # the network does not answer, say, and it goes on trying
                return f"{share}. {download.problem}"
            left = f", {time_text(download.seconds_left)} left" if download.seconds_left is not None else ""
            return f"{share}{left}"


def share_text(done_bytes: int, total_bytes: int | None) -> str:
    """ "2.1 of 6.9 GB"; without an end "2.1 GB"."""
    if total_bytes is None:
        return size_text(done_bytes)
    done, whole = size_text(done_bytes), size_text(total_bytes)
    if done.rpartition(" ")[2] == whole.rpartition(" ")[2]:
        done = done.rpartition(" ")[0]
    return f"{done} of {whole}"


def time_text(seconds: float) -> str:
    """A time for people: ``40 s``, ``6 min``, ``3 h 20 min``; of a line that hardly moves ``days``."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{max(seconds, 1):.0f} s"
    if minutes >= 2880:
        return "days"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
