"""What a person sees of a step at work."""

import re
import shutil
import sys
import time

HEARTBEAT = 30  # seconds between two lines where output is not a terminal


class Activity:
    """One step at work: a line that is rewritten on a terminal, few lines elsewhere.

    Args:
        title: What the step does.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ''
        self.subject = 'operators'  # what a compiler's count is about
        self.counts = False  # whether the detail is such a count: it replaces the title
        self.started = time.monotonic()
        self._terminal = sys.stdout.isatty()
        self._shown = self.started
        self._tenths = 0
        self._last_line = self.started
        self._build_started = 0.0
        if not self._terminal:
            print(f'{title} ...', flush=True)

    def feed(self, line: str) -> None:
        """Look at one line of a command's output and show what it tells."""
        progress = re.match(r'\s*\[(\d+)/(\d+)\]', line)
        if progress:
            self._feed_progress(int(progress.group(1)), int(progress.group(2)))
        elif re.match(r'(Collecting|Downloading|Building|Installing|Preparing) ', line.strip()):
            self.detail = line.strip()[:70]
            self.counts = False
        self._last_line = time.monotonic()
        self.tick()

    def tick(self) -> None:
        """Show the present state if it is time to."""
        now = time.monotonic()
        elapsed = format_seconds(now - self.started)
        detail = f' {self.detail}' if self.detail else ''
        if self._terminal:
            text = f'{self.title} ... {elapsed}{detail}'
            if self.counts:
                text = f' {detail} ({elapsed})'
            width = shutil.get_terminal_size().columns - 1
            print('\r\033[K' + text[:width], end='', flush=True)
        elif now - self._shown >= HEARTBEAT:
            self._shown = now
            print(f'  {elapsed}:{detail or " at work"}', flush=True)

    def note(self, text: str) -> None:
        """Print a whole line that stays."""
        self._clear()
        print(f'  {text}', flush=True)

    def finish(self) -> None:
        """Print that the step is done and how long it took."""
        self._clear()
        elapsed = format_seconds(time.monotonic() - self.started)
        print(f'{self.title}: done in {elapsed}' if self._terminal else f'  done in {elapsed}')
        sys.stdout.flush()

    def abandon(self) -> None:
        """Leave the terminal's line, so that a message can follow."""
        if self._terminal:
            print(flush=True)

    def _clear(self) -> None:
        if self._terminal:
            print('\r\033[K', end='')

    def _feed_progress(self, done: int, total: int) -> None:
        if not self._build_started:
            self._build_started = self._last_line  # ninja prints what has ended
        self.counts = True
        self.detail = f'{self.subject} {done}/{total}'
        rest = (time.monotonic() - self._build_started) / done * (total - done)
        if done == total:
            self.detail += ', linking'
        elif done > 2:
            self.detail += f', about {format_rest(rest)} left'
        tenths = 10 * done // total
        if tenths != self._tenths:
            self._tenths = tenths
            self._shown -= HEARTBEAT


def format_seconds(seconds: float) -> str:
    """``'23 s'`` or ``'2 min 5 s'``."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'


def format_rest(seconds: float) -> str:
    """A remaining time, as coarse as it is known."""
    return f'{seconds / 60:.0f} min' if seconds >= 90 else f'{max(seconds, 1):.0f} s'
