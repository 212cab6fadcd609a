"""The kinds of windows: how a training window is cut from a lifetime. One line for each."""

from gla.kinds import Kinds

WINDOWS = Kinds(
    "windows.kind",
    {
        "across_updates": "gla.windows.across_updates",
        "rising_quality": "gla.windows.rising_quality",
        "consecutive": "gla.windows.consecutive",
        "shuffled": "gla.windows.shuffled",
    },
)
