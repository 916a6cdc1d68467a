"""Files of a model folder to a hub repository: listed first, then sent as one commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError

from sg_hub.errors import InvalidInputError, ReadError, SgHubError, shortened
from sg_hub.hub.answers import failure, tried_again, within_a_timeout
from sg_hub.hub.card import CARD, goes_with_weights

_MODEL = ("config.json", "model.safetensors", "golden.safetensors", "CITATION.cff")
_PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp", ".bmp", ".tif", ".tiff")
_RECORDS = (".json", ".jsonl", ".csv", ".toml")


@dataclass(frozen=True)
class Listing:
    """What of a folder goes to a hub, and what stays here; `str` of it is one line a file, with sizes."""

    files: dict[str, Path]
    """By the name in the repository."""
    kept_back: dict[str, str]
    """Name to why it is not sent."""
    notes: dict[str, str] = field(default_factory=dict)
    """Name to what must be known of a file that is sent."""

    def __str__(self) -> str:
        sizes = {name: path.stat().st_size for name, path in self.files.items()}
        lines = [
            (f"{name} ({size / 1e6:.1f} MB)" if size >= 1e6 else f"{name} ({size / 1e3:.1f} kB)")
            + (f": {self.notes[name]}" if name in self.notes else "")
            for name, size in sizes.items()
        ]
        return "\n".join([*lines, *(f"not sent: {name} ({why})" for name, why in self.kept_back.items())])


def listing(folder: Path, *, pictures: bool = False) -> Listing:
    """What of a folder is to be sent: the model, its card and its licence; pictures only when they are asked for.

    Whatever a fine-tuning leaves in its folder may show patients or name them, and a hub does not forget. So it is the
    files that are known to be harmless which are sent, rather than those known to be harmful which are not: scans,
    checkpoints, hidden files and whatever else lies there never are.

    Args:
        pictures: also pictures (PNG, JPEG, SVG, TIFF, ...), which may be of patients.
    """
    files: dict[str, Path] = {}
    kept_back: dict[str, str] = {}
    notes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if not path.is_file() or any(part.startswith(".") for part in parts):
            continue
        name, suffix = "/".join(parts), path.suffix.lower()
        if name in _MODEL or goes_with_weights(name):
            files[name] = path
        elif suffix in _PICTURES:
            files |= {name: path} if pictures else {}
            notes |= {name: "a picture, may show patients"} if pictures else {}
            kept_back |= {} if pictures else {name: "a picture"}
        elif suffix in _RECORDS:
            kept_back[name] = "a record"
        else:
            kept_back[name] = "no part of a model"
    return Listing(files, kept_back, notes)


def upload(
    files: Mapping[str, Path],
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    message: str = "Upload model",
    keep_card: bool = False,
) -> tuple[CommitInfo, bool]:
    """Commit files to a repository, which is made where there is none.

    Everything is in one commit, so that nobody can load the weights of one upload with the config of another. Files
    that the repository has beside these stay.

    Args:
        files: by the name in the repository, as `listing(folder).files` has them.
        private: for a new repository; absent: as the account has it.
        token: as in huggingface_hub.
        branch: made from the main branch where there is none.
        keep_card: leave a card that the repository has already as it is.

    Returns:
        The commit, and whether it is new: with nothing changed it is the branch's last.

    Raises:
        InvalidInputError: an id that cannot be, or `private` for a repository that is public.
        ReadError: no access, no network, or a card that the hub does not accept.
    """
    try:
        with within_a_timeout() as timeout:
            api = HfApi(token=token, library_name="sg_hub")
            repo_id = tried_again(lambda: api.create_repo(repo_id, private=private, exist_ok=True).repo_id)
            if private and not tried_again(lambda: api.repo_info(repo_id, timeout=timeout).private):
                raise InvalidInputError(
                    f"hub model {repo_id!r} is there already and public: nothing was uploaded; make it private on its "
                    "page, or give another id"
                )
            if branch is not None:
                tried_again(lambda: api.create_branch(repo_id, branch=branch, exist_ok=True))
            before = tried_again(lambda: api.repo_info(repo_id, revision=branch, timeout=timeout).sha)
            if keep_card and CARD in files and tried_again(lambda: api.file_exists(repo_id, CARD, revision=branch)):
                files = {name: path for name, path in files.items() if name != CARD}
            # Once more is harmless where the hub did commit and only could not say so: nothing has changed then.
            commit = tried_again(
                lambda: api.create_commit(
                    repo_id,
                    [CommitOperationAdd(name, path) for name, path in files.items()],
                    commit_message=message,
                    revision=branch,
                )
            )
    except SgHubError:
        raise
    except HFValidationError as error:
        raise InvalidInputError(
            f"{repo_id!r} cannot be the id of a hub model, expected owner/name: {shortened(error)}"
        ) from error
    except Exception as error:
        raise ReadError(f"nothing was committed. {failure(error, repo_id, branch)}") from error
    return commit, commit.oid != before
