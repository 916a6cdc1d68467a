"""Saving: save_pretrained and push_to_hub of every model, on huggingface_hub's mixin."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, ModelCard, PyTorchModelHubMixin
from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.hub.card import CARD
from sg_hub.hub.model_folder import new_folder, write_model
from sg_hub.hub.upload import listing, upload


class Saved(
    PyTorchModelHubMixin,
    nn.Module,
    library_name="sg_hub",
    tags=["medical-imaging", "semantic-genesis"],
):
    """`save_pretrained` and `push_to_hub` for the models of sg_hub."""

    def config(self) -> dict[str, Any]:
        """What config.json holds; every model says its own."""
        raise TypeError(f"{type(self).__name__} has no config()")  # a model class without one is a defect

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        half: bool = False,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: dict[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write config.json, model.safetensors and (where there is none) a card into a folder.

        Other files of the folder stay. A model that is in it stays whole, and is loaded, until the new one is complete.

        Args:
            half: store parameters in half precision (running statistics stay in single precision).
            config: not used; the model's own config is written.
            push_to_hub: also upload to `repo_id` (absent: the folder's name), with the options of `push_to_hub`.
            model_card_kwargs: for the template of huggingface_hub's mixin.

        Raises:
            InvalidInputError: a path that is a file, or an option that does not exist.
            ReadError: the folder cannot be written; a model that was in it is as it was.
        """
        if push_to_hub_kwargs and not push_to_hub:
            raise InvalidInputError(f"save_pretrained has no option {', '.join(push_to_hub_kwargs)}")
        folder = new_folder(save_directory)
        card_kwargs = model_card_kwargs or {}
        texts = {} if (folder / CARD).exists() else {CARD: str(self.generate_model_card(**card_kwargs))}
        self._write(folder, half, texts)
        if push_to_hub:
            name = repo_id or folder.name
            return self.push_to_hub(name, half=half, model_card_kwargs=model_card_kwargs, **push_to_hub_kwargs)
        return None

    def push_to_hub(  # type: ignore[override]
        self,
        repo_id: str,
        *,
        half: bool = False,
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        commit_message: str = "Upload model",
        model_card_kwargs: dict[str, Any] | None = None,
    ) -> CommitInfo:
        """Upload config.json, model.safetensors and (where the repository has none) a card, in one commit.

        Args:
            repo_id: owner/name; made where there is none.
            half: store parameters in half precision.
            private: for a new repository; absent: as the account has it.
            token: as in huggingface_hub; absent: HF_TOKEN, or that of the last login.
            branch: where to; made from the main branch where there is none.
            model_card_kwargs: for a card made anew, which then takes the place of the repository's own.

        Returns:
            The commit, with its `oid` and `commit_url`; with nothing changed it is the last one.

        Raises:
            InvalidInputError: an id that cannot be, or `private` for a repository that is public.
            ReadError: no access, or no network.
        """
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder, half=half, model_card_kwargs=model_card_kwargs)
            commit, _ = upload(
                listing(Path(folder)).files,
                repo_id,
                private=private,
                token=token,
                branch=branch,
                message=commit_message,
                keep_card=model_card_kwargs is None,
            )
        return commit

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """A short card; weights that go back to a licence of its own name it, as that licence demands."""
        card = super().generate_model_card(*args, **kwargs)
        provenance = getattr(self, "provenance", {})
        if provenance.get("licence") == "other":
            card.data["license"] = "other"
            card.data["license_name"] = provenance.get("licence_name", "see-link").lower().replace(" ", "-")
            card.data["license_link"] = provenance.get("licence_link")
        return card

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(save_directory, half=False, texts={})

    def _write(self, folder: Path, half: bool, texts: dict[str, str]) -> None:
        parameters = {name for name, _ in self.named_parameters()}
        state = {
            key: (value.half() if half and key in parameters else value).detach().cpu().contiguous()
            for key, value in self.state_dict().items()
        }
        write_model(folder, state, type(self).__name__, self.config(), texts)
