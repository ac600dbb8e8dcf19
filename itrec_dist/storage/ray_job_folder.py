"""Refuses paths in the working directory of a Ray job, which Ray deletes.

`ray job submit --working-dir .` unpacks a copy of the checkout below each node's temporary folder.
Files written there are lost, and paths there mean nothing on other nodes.
"""

from pathlib import Path

from itrec_dist.errors import ConfigError

_PARENT, _PREFIX = "working_dir_files", "_ray_pkg_"  # as ray/_private/runtime_env names them


def refuse_path(path: Path, name: str = "") -> None:
    """Refuse a path in the job's working directory, such as any relative path in a job.

    Args:
        path: the path as given or made absolute.
        name: the setting that it was given for, used in the message.

    Raises:
        ConfigError: the path is in that directory.
    """
    folder = _find()
    given = path if folder is None or not path.is_absolute() else _relative(path, folder)
    if folder is None or given.is_absolute():
        return
    raise ConfigError(
        f"{name}{' ' if name else ''}{given} lies in the copy of the checkout that Ray made for "
        "this job and deletes again: give an absolute path that every node reaches, such as "
        f"/shared/{given}"
    )


def _find() -> Path | None:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if folder.name.startswith(_PREFIX) and folder.parent.name == _PARENT:
            return folder
    return None


def _relative(path: Path, folder: Path) -> Path:
    return path.relative_to(folder) if path.is_relative_to(folder) else path
