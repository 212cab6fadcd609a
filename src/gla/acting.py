"""The settings with which an agent acts where nothing else is asked for: acting.json in its folder."""

from pathlib import Path

from gla.config.agents import Acting
from gla.files import Description, read_description, write_json


class ActingDescription(Description):
    """The content of acting.json."""

    acting: Acting


def write_acting(folder: str | Path, acting: Acting) -> None:
    """Writes acting.json into an agent's folder."""
    write_json(Path(folder) / "acting.json", {"acting": acting.model_dump()})


def read_acting(folder: str | Path, anywhere: bool = False) -> Acting:
    """Returns an agent's settings: the defaults if its folder has no acting.json. Raises CorruptFile if the file is altered, or no such
    settings.

    anywhere: whether the folder may be a copy with another name in a folder of results.
    """
    path = Path(folder) / "acting.json"
    if not path.exists():
        return Acting()
    return Acting.model_validate(read_description(path, ActingDescription, anywhere)["acting"])
