"""Loading and saving: from_pretrained and save_pretrained of every model, on huggingface_hub's mixin."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import CommitInfo, ModelCard, PyTorchModelHubMixin
from torch import nn

from sg_hub.errors import InvalidInputError
from sg_hub.hub.config_file import read_config
from sg_hub.hub.locate import ModelFiles, locate
from sg_hub.hub.model_folder import new_folder, write_model
from sg_hub.hub.upload import CARD, listing, upload
from sg_hub.hub.weights_file import read_weights
from sg_hub.models.loading import LoadReport, load_state

# The last layers, which hold the answer to one task only: a new task starts them afresh.
TASK_LAYERS = ("classifier.fc", "segmentation")


class PretrainedMixin(
    PyTorchModelHubMixin,
    nn.Module,
    library_name="sg_hub",
    tags=["medical-imaging", "semantic-genesis"],
):
    """`from_pretrained`, `save_pretrained` and `push_to_hub` for the models of sg_hub."""

    CONFIG_KEYS: frozenset[str] = frozenset()
    """Keys of config.json: the arguments of the constructor."""
    PREPROCESSING: type[Any]
    """Class of the argument `preprocessing`."""

    load_report: LoadReport | None = None
    """What `from_pretrained` loaded, adapted, reset and left out; absent on a model that was built afresh."""

    def config(self) -> dict[str, Any]:
        """What config.json holds; every model says its own."""
        raise TypeError(f"{type(self).__name__} has no config()")  # a model class without one is a defect

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | os.PathLike[str] | ModelFiles,
        *,
        head: str | None = None,
        num_classes: int | None = None,
        in_chans: int | None = None,
        norm: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device = "cpu",
    ) -> Self:
        """A pretrained model in evaluation mode; `model.load_report` says what was loaded.

        Args:
            name: a registered name (`sg_hub.list_models()`), a folder with config.json and model.safetensors
                (one named like a registered model: write ./NAME), or a hub id.
            head: `pretext`, `restoration`, `segmentation` or `classification`; absent: the weights' own. With
                `num_classes` and no head, pretext and restoration weights get a segmentation head. A new
                head's last layer starts afresh; what the weights lack altogether does, too.
            num_classes: classes of the new head; needed when the head changes.
            in_chans: input channels. The first convolution is averaged over its input channels and repeated,
                scaled so that the same image in every channel gives the same features as before.
            norm: `batch_stats`, `batch` or `instance`, in 3D; absent: the weights' own. 2D has that of its encoder.
            revision: branch, tag or commit of the hub repository; a registered name has its own pinned.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            device: where the model goes.

        Raises:
            InvalidInputError: unknown name or option, or weights that do not fit the network.
            ReadError: a missing, damaged, newer or wrong file; no network.
        """
        if isinstance(name, ModelFiles):  # sg_hub.from_pretrained has them, to see which class it is
            files = name
        else:
            files = locate(name, revision, token, cache_dir, local_files_only, force_download)
        config = read_config(files.config, cls.__name__, cls.CONFIG_KEYS)
        config["preprocessing"] = cls.PREPROCESSING.from_dict(config["preprocessing"])
        state, sha256 = read_weights(files.weights, files.sha256)
        before = dict(config)
        _choose_head(config, head, num_classes)
        for key, value in (("in_chans", in_chans), ("norm", norm)):
            if value is not None:
                if key not in config:
                    raise InvalidInputError(f"{key}={value!r}: a {cls.__name__} has no such option; leave it out")
                config[key] = value
        model = cls(**config)
        task_changed = config["head"] != before["head"] or config["num_classes"] != before["num_classes"]
        channels = (before["in_chans"], config["in_chans"])
        report = load_state(
            model,
            state,
            source=files.source,
            reset=TASK_LAYERS if task_changed else (),
            adapt_channels=channels if channels[0] != channels[1] else None,
            norm_changed=config.get("norm") != before.get("norm"),
            heads=(before["head"], config["head"]),
        )
        report.revision, report.sha256 = files.revision, sha256
        model.load_report = report
        report.log()
        try:
            return model.to(device).eval()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).splitlines()[0]
            raise InvalidInputError(f"device={str(device)!r} cannot be used ({reason}): try 'cpu' or 'cuda'") from error

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


def _choose_head(config: dict[str, Any], head: str | None, num_classes: int | None) -> None:
    """Put the asked-for head into the config of the network."""
    carried = config["head"]
    if head is None and num_classes is not None and carried in ("pretext", "restoration"):
        head = "segmentation"
    if head == "restoration" and num_classes is not None:
        raise InvalidInputError(f"num_classes={num_classes}: head='restoration' has no classes; leave it out")
    if head is not None and head != carried:
        # Of the pretext head, weights with classes of any kind say the number; those of restoration alone do not.
        known = head == "restoration" or (head == "pretext" and carried != "restoration")
        if num_classes is None and not known:
            raise InvalidInputError(
                f"head={head!r} needs num_classes (the weights carry a {carried!r} head): "
                f"from_pretrained(..., head={head!r}, num_classes=2)"
            )
        config["head"] = head
    if num_classes is not None:
        config["num_classes"] = num_classes
