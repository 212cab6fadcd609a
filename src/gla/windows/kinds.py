"""The kinds of windows: how training windows are cut from lifetimes. One line for each."""

from gla.kinds import Kinds

WINDOWS = Kinds(
    "windows.kind",
    {
        "across_updates": "gla.windows.across_updates",
        "rising_quality": "gla.windows.rising_quality",
        "consecutive": "gla.windows.consecutive",
        "shuffled": "gla.windows.shuffled",
    },
    "gla.windows",
)
