"""Saving: save_pretrained and push_to_hub of every model, on huggingface_hub's mixin."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, ModelCard, PyTorchModelHubMixin
from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.hub.card import CARD, NOTICE, build_card, licence_of, notice_of, notices, with_base
from sg_hub.hub.find import texts_of
from sg_hub.hub.model_folder import new_folder, write_model
from sg_hub.hub.upload import listing, upload
from sg_hub.io.files import working_folder
from sg_hub.models.heads import Head
from sg_hub.models.input_checks import all_finite
from sg_hub.models.loading import LoadReport, Origin, check_can_be_loaded


class Saved(PyTorchModelHubMixin, nn.Module):
    """`save_pretrained` and `push_to_hub` for the models of sg_hub."""

    provenance: dict[str, Any]
    head: Head
    load_report: LoadReport | None = None
    origin: Origin | None = None
    """What `from_pretrained` loaded it from; None on a model that was built afresh."""

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
        """Write config.json, model.safetensors, NOTICE and (where there is none) a card into a folder.

        Other files of the folder stay. A model that is in it stays whole, and is loaded, until the new one is complete.
        A model that was loaded keeps its card; once it was changed it gets a new one, with the older behind it. What
        the weights' licence asks for goes with them.

        Args:
            half: store parameters in half precision (running statistics stay in single precision).
            config: not used; the model's own config is written.
            push_to_hub: also upload to `repo_id` (absent: the folder's name), with the options of `push_to_hub`.
            model_card_kwargs: for a card made anew: entries of its metadata, such as `license` or `datasets`.

        Raises:
            InvalidInputError: a path that is a file, an option that does not exist, weights that are no numbers or not
                those of the network that the config describes, or a provenance that JSON cannot hold.
            ReadError: the folder cannot be written; a model that was in it is as it was.
        """
        if push_to_hub_kwargs and not push_to_hub:
            raise InvalidInputError(f"save_pretrained has no option {', '.join(push_to_hub_kwargs)}")
        folder = new_folder(save_directory)
        self._write(folder, half, self._texts(folder, f"./{folder.resolve().name}", model_card_kwargs))
        if push_to_hub:
            name = repo_id or folder.resolve().name
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
        """Upload config.json, model.safetensors, NOTICE and (where the repository has none) a card, in one commit.

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
        with working_folder() as folder:
            self._write(folder, half, self._texts(folder, repo_id, model_card_kwargs))
            commit, _ = upload(
                listing(folder).files,
                repo_id,
                private=private,
                token=token,
                branch=branch,
                message=commit_message,
                keep_card=model_card_kwargs is None,
            )
        return commit

    def generate_model_card(self, *, usage: str = "this/folder", **metadata: Any) -> ModelCard:
        """A card built from what the model knows of itself: usage, what it expects, where it comes from, licence.

        Args:
            usage: what `from_pretrained` is to be given.
            metadata: entries of the card's metadata, such as `license` or `datasets`.
        """
        about, report = f"A {type(self).__name__} of sg_hub.", self.load_report
        if report is not None:
            # Where a folder lay on this machine is nobody's business.
            source = (
                f"{report.source}` (revision {report.revision})" if report.revision else f"{Path(report.source).name}`"
            )
            about = f"A {type(self).__name__} of sg_hub, made from `{source}."
            if report.revision and report.source.count("/") == 1:
                metadata = {"base_model": report.source, **metadata}
        return build_card(
            type(self).__name__,
            self.config(),
            parameters=sum(p.numel() for p in self.parameters()),
            usage=usage,
            title=usage.removeprefix("./"),
            about=about,
            head=self.head,
            data=metadata,
        )

    def _texts(self, folder: Path, usage: str, metadata: dict[str, Any] | None) -> dict[str, str]:
        """Card and licence to be written into a folder, by file name; what is there already is kept."""
        try:
            json.dumps(dict(self.provenance))
        except (TypeError, ValueError) as error:
            raise InvalidInputError(
                f"provenance: {error}; expected texts, numbers, and lists and dictionaries of them, for config.json"
            ) from error
        came: dict[str, str] = {}
        if self.origin is not None:
            came = texts_of(self.origin.files) if self.origin.texts is None else self.origin.texts
        texts = {
            name: text for name, text in came.items() if name not in (CARD, NOTICE) and not (folder / name).exists()
        }
        if notice := notices(folder, came.get(NOTICE), notice_of(self.provenance)):
            texts[NOTICE] = notice
        if (folder / CARD).exists():
            return texts
        if metadata is None and self.origin and CARD in came and self.origin.is_still(self.config(), self.state_dict()):
            return texts | {CARD: came[CARD]}
        licence = licence_of(came.get(CARD, ""))  # of whoever published the weights that these were made from
        card = str(self.generate_model_card(usage=usage, **(licence | (metadata or {}))))
        return texts | {CARD: with_base(card, came[CARD]) if CARD in came else card}

    def _save_pretrained(self, save_directory: Path) -> None:
        self._write(save_directory, half=False, texts={})

    def _write(self, folder: Path, half: bool, texts: dict[str, str]) -> None:
        parameters = {name for name, _ in self.named_parameters()}
        state = {
            key: (value.half() if half and key in parameters else value).detach().cpu().contiguous()
            for key, value in self.state_dict().items()
        }
        for key, value in state.items():
            if value.is_floating_point() and not all_finite(value):
                why = "as after a training that diverged" + (", or too large for half precision" if half else "")
                raise InvalidInputError(
                    f"{key} holds NaN or infinite values, {why}: nothing was saved, and a model that is in {folder} is "
                    "as it was"
                )
        check_can_be_loaded(self, state, str(folder))
        write_model(folder, state, type(self).__name__, self.config(), texts)
