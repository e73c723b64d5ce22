"""Where models are installed on this machine, and how one is found by its name."""

import json
import os
import re
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
INCLUDED = "emoji"
"""The name of the model that comes with Sfumato."""
RECORD = "added.json"
"""What an installed model's folder holds beside the model: its source and its files' digests."""
INDEX = "model_index.json"


def default_models() -> Path:
    """Return the models directory of this user: ``$XDG_DATA_HOME/sfumato/models``."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return Path(data) / "sfumato" / "models"


def default_cache() -> Path:
    """Return where this user's workers keep what can be made again: ``$XDG_CACHE_HOME/sfumato``."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(cache) / "sfumato"


class ModelsSettings(BaseSettings):
    """The models directory, for those who need nothing else."""

    model_config = SettingsConfigDict(env_prefix="SFUMATO_", frozen=True, extra="ignore")

    models: Path = Field(default_factory=default_models)


def is_name(text: str) -> bool:
    """Return whether a model can be installed under this name."""
    return re.fullmatch(NAME, text) is not None


def is_installed(folder: Path) -> bool:
    """Return whether a folder of the models directory holds a model that was added there."""
    return folder.is_dir() and not folder.is_symlink() and (folder / RECORD).is_file()


def installed_names(models: Path) -> list[str]:
    """Return the names of the installed models, in order."""
    if not models.is_dir():
        return []
    names = (path.name for path in models.iterdir() if is_installed(path))
    return sorted(name for name in names if is_name(name))


def find_model(model: Path, models: Path, included: Path | None = None) -> Path:
    """Return the folder of a model that is given by its path or by its name.

    A name is that of an installed model, or of the ``included`` one. A folder in the working
    directory goes first if it holds a model.

    Raises:
        ValueError: nothing is there under this name.
    """
    name, models = str(model), models.expanduser()
    if not is_name(name) or (model / INDEX).exists():
        return model
    if name == INCLUDED and included is not None:
        return included
    if is_installed(models / name):
        return models / name
    if model.is_dir():
        return model
    known = ", ".join([INCLUDED, *installed_names(models)])
    raise ValueError(f"{name} is neither a folder nor an installed model ({known})")


def served_name(folder: Path) -> str:
    """Return the name under which a model is served: its ``sfumato.json``'s, or its folder's."""
    try:
        named = json.loads((folder / "sfumato.json").read_bytes()).get("name")
    except (OSError, ValueError, AttributeError, RecursionError):
        named = None
    return named if isinstance(named, str) and named else folder.absolute().name
