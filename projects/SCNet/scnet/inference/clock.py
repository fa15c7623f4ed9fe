"""The time of each frame of a video."""

MAX_PAUSE = 10.0  # seconds; a longer one is a mistake of the file


class Clock:
    """Makes times that begin at 0 and always rise of those that a video gives.

    A frame whose time does not come after that of the one before has no time that can be used, and
    neither has one after a pause of more than MAX_PAUSE or two frames. Such a frame comes as long
    after the one before as the rate says.
    """

    def __init__(self, rate: float, max_pause: float = MAX_PAUSE):
        """Begin.

        Args:
            rate: frames per second.
            max_pause: in place of MAX_PAUSE.
        """
        self.period, self.max_pause = 1 / rate, max_pause
        self.origin = 0.0
        self.now = -self.period

    def time(self, given: float) -> float:
        """The time of the next frame in seconds.

        Args:
            given: what the video says, in seconds after any moment.
        """
        step = given - self.origin - self.now
        is_first, pause = self.now < 0, max(self.max_pause, 2 * self.period)
        next_one = self.now + (step if 0 < step <= pause and not is_first else self.period)
        if is_first or abs(step) > pause:
            self.origin = given - next_one
        self.now = next_one
        return self.now
