"""A folder to a hub repository, as one commit."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi
from huggingface_hub.errors import HFValidationError

from sg_hub.errors import InvalidInputError, ReadError, SgHubError
from sg_hub.hub.download import failure

CARD = "README.md"


def listing(folder: Path) -> dict[str, Path]:
    """What is uploaded of a folder: every file below it, by its name in the repository, but nothing hidden."""
    names = {path.relative_to(folder): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name.as_posix(): path for name, path in names.items() if not any(p.startswith(".") for p in name.parts)}


def upload(
    folder: Path,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    message: str = "Upload model",
    keep_card: bool = False,
) -> tuple[CommitInfo, bool]:
    """Commit the files of a folder to a repository, which is made where there is none.

    Everything is in one commit, so that nobody can load the weights of one upload with the config of another. Files
    that the repository has beside these stay.

    Args:
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
        api = HfApi(token=token, library_name="sg_hub")
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if private and not api.repo_info(repo_id).private:
            raise InvalidInputError(
                f"hub model {repo_id!r} is there already and public: nothing was uploaded; make it private on its "
                "page, or give another id"
            )
        if branch is not None:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        before = api.repo_info(repo_id, revision=branch).sha
        files = listing(folder)
        if keep_card and CARD in files and api.file_exists(repo_id, CARD, revision=branch):
            del files[CARD]
        commit = api.create_commit(
            repo_id,
            [CommitOperationAdd(name, path) for name, path in files.items()],
            commit_message=message,
            revision=branch,
        )
    except SgHubError:
        raise
    except HFValidationError as error:
        raise InvalidInputError(f"{repo_id!r} cannot be the id of a hub model, expected owner/name: {error}") from error
    except Exception as error:
        raise ReadError(f"nothing was committed. {failure(error, repo_id, branch)}") from error
    return commit, commit.oid != before
