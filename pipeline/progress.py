"""Says now and then how far a long piece of work is, how fast it goes and how long it will take."""

import logging
import time

log = logging.getLogger(__name__)
EVERY = 10.0  # seconds


class Progress:
    def __init__(self, title: str, total: int, unit: str) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done = 0
        self._started = self._said = time.monotonic()

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._said < EVERY or self._done >= self._total:
            return
        self._said = now
        rate = self._done / (now - self._started)
        left = (self._total - self._done) / max(rate, 1e-9)
        log.info(
            "%s: %s of %s %s, %s/s, %s left",
            self._title,
            f"{self._done:,}",
            f"{self._total:,}",
            self._unit,
            f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}",
            duration(left),
        )


def duration(seconds: float) -> str:
    """Such as 2 h 05 min, 3 min 20 s, 45 s."""
    whole = max(0, round(seconds))
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 60} min {whole % 60:02} s" if whole >= 60 else f"{whole} s"
