"""Agents on the Hugging Face Hub: a repository holds what an agent's folder holds, and nothing else.

    agent.push_to_hub("me/my-agent")
    agent = gla.load("hf://me/my-agent")

Both need the package huggingface_hub (extra ``hub``), and take its settings, such as its token and ``HF_ENDPOINT``. What is loaded is checked
like any other folder: weights that are not those that agent.json describes are refused.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from gla import card
from gla.agent import AgentDescription
from gla.files import read_description
from gla.options import ConfigError

PREFIX = "hf://"
FILES = ("agent.json", "acting.json", "weights.safetensors", "README.md")
NEEDED = "huggingface_hub is not installed (expected pip install 'huggingface_hub>=1')"


def _hub() -> Any:
    """Returns the library. Raises ConfigError if it is not installed."""
    try:
        import huggingface_hub
    except ImportError:
        raise ConfigError(NEEDED) from None
    return huggingface_hub


def fetched(name: str) -> Path:
    """Returns the folder of an agent that was fetched. name: ``hf://OWNER/REPOSITORY``, or with ``@REVISION`` at its end.

    Raises ConfigError if there is no such repository, or if it cannot be reached and was not fetched before.
    """
    hub = _hub()
    repository, _, revision = name.removeprefix(PREFIX).partition("@")
    try:
        return Path(hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(FILES)))
    except (
        hub.errors.HfHubHTTPError,
        hub.errors.HFValidationError,
        hub.errors.LocalEntryNotFoundError,
        OSError,
    ) as error:
        raise ConfigError(f"{name}: {_said(error)} (expected {PREFIX}OWNER/REPOSITORY of an agent)") from None


def push(folder: Path, name: str, repository: str, private: bool, message: str) -> str:
    """Uploads an agent's folder, with a card if it has none, and returns the commit's address. name: the agent's, for the card.

    Raises ConfigError if the upload fails.
    """
    hub = _hub()
    with tempfile.TemporaryDirectory() as temporary:
        for file in FILES:
            if (folder / file).exists():
                shutil.copy(folder / file, temporary)
        written = Path(temporary) / "README.md"
        if not written.exists():
            written.write_text(card.render(name, read_description(folder / "agent.json", AgentDescription, True)))
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            return str(hub.upload_folder(repo_id=repository, folder_path=temporary, commit_message=message).commit_url)
        except (
            hub.errors.HfHubHTTPError,
            hub.errors.HFValidationError,
            hub.errors.LocalTokenNotFoundError,
            OSError,
        ) as error:
            raise ConfigError(
                f"{repository}: {_said(error)} (expected OWNER/REPOSITORY that your token may write to)"
            ) from None


def _said(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
