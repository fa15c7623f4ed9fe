"""The time of each frame of a video."""

MAX_PAUSE = 10.0  # seconds; a longer one is a mistake of the video, or a stream that was away


class Clock:
    """Makes times that begin at 0 and always rise of those that a video gives.

    A frame whose time does not come after that of the one before has no time that can be used, and
    neither has one after a pause of more than MAX_PAUSE or two frames. Such a frame comes as long
    after the one before as the rate says.
    """

    def __init__(self, rate: float):
        """Begin.

        Args:
            rate: frames per second.
        """
        self.period = 1 / rate
        self.origin = 0.0
        self.now = -self.period

    def time(self, given: float) -> float:
        """The time of the next frame in seconds.

        Args:
            given: what the video says, in seconds after any moment.
        """
        step = given - self.origin - self.now
        is_first, pause = self.now < 0, max(MAX_PAUSE, 2 * self.period)
        next_one = self.now + (step if 0 < step <= pause and not is_first else self.period)
        if is_first or abs(step) > pause:
            self.origin = given - next_one
        self.now = next_one
        return self.now
