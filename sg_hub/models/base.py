"""What every model is: an encoder with a head behind it, its config, its checks, and how it is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypedDict, Unpack

import torch
from torch import Tensor, nn

from sg_hub.errors import InvalidInputError
from sg_hub.given import whole
from sg_hub.hub.find import ModelFiles, find_files
from sg_hub.hub.model_folder import undisturbed
from sg_hub.hub.weights_file import read_weights
from sg_hub.models import loading
from sg_hub.models.heads import Classifier, Head, add_parts, checked_class_names, head_of
from sg_hub.models.input_checks import check_shape, check_tensor, check_values, difference, pad_to_multiple
from sg_hub.models.saving import Saved
from sg_hub.models.unet import CONVOLUTION, UNetDecoder
from sg_hub.preprocessing.preprocessing import ImagePreprocessing, Preprocessing

_PREPROCESSING: dict[int, type[Any]] = {2: ImagePreprocessing, 3: Preprocessing}
_MOST = 1 << 30
"""No count in a config is larger."""


class Shared(TypedDict, total=False):
    """Options of every model's constructor; `PretrainedModel` says what they are."""

    head: str
    in_chans: int
    num_classes: int
    class_names: Sequence[str]
    multilabel: bool
    preprocessing: Any
    provenance: dict[str, Any]


class PretrainedModel(Saved):
    """Encoder, decoder and head of one network. A family says what its config holds and what its encoder is.

    A family is a class with `NDIM`, `SETTINGS` (the keys of config.json that it alone has), and a constructor that
    takes these and `**shared`, calls `super().__init__(**shared)` and then `self.assemble(encoder, **settings)`.
    Its encoder takes (N, in_chans, spatial...) to a list of feature maps, finest first, and has the `channels` and
    `strides` of each map and `input_key`, the state-dict key of its first convolution.

    Args:
        head: `pretext` gives a `PretextOutput`; `restoration` the restored input alone; `segmentation` logits
            (N, num_classes, spatial...); `classification` logits (N, num_classes); `features` the encoder's feature
            maps, finest first. No softmax or sigmoid, but for the restoration.
        in_chans: channels of the input.
        num_classes: patterns (pretext) or classes; not used, and 0 afterwards, where the head has none.
        class_names: one for each class, the background of a segmentation included; absent: they have no names.
        multilabel: the classes are findings that do not exclude one another (classification only).
        preprocessing: what the weights expect of a scan or image; it is saved with them.
        provenance: where the weights come from (data, recipe, commit, licence); saved with them.

    Attributes:
        encoder, preprocessing, provenance, in_chans, num_classes, class_names, multilabel: as above.
        head: what the network ends in, and what comes out of it.
        decoder: feature maps to (N, decoder.out_chans, spatial...), where the head needs it.
        classifier: the deepest feature map to (N, num_classes), where the head needs it.
        segmentation, restoration: convolutions behind the decoder, where the head has them.
        load_report: what `from_pretrained` loaded, adapted, reset and left out; None on a model that was built afresh.
    """

    NDIM: ClassVar[int]
    """Spatial dimensions of the input."""
    SETTINGS: ClassVar[tuple[str, ...]] = ()
    """Keys of config.json that this family has beside the shared ones."""
    CHANGEABLE: ClassVar[tuple[str, ...]] = ()
    """Of SETTINGS, those that `from_pretrained` may change, as the weights fit all their values."""
    PATTERNS: ClassVar[int] = 44
    """num_classes where it is not given."""
    TITLE: ClassVar[str] = ""
    """What its authors call it, and what it is, in a few words. This and the next three are what a list of families
    says of it; a family that leaves them out is listed by its name alone."""
    SOURCE: ClassVar[str] = ""
    """Who published it, where and when."""
    LICENCE: ClassVar[str] = ""
    """Of the weights that its authors published, as the hub calls it, or in words."""
    EXPECTS: ClassVar[str] = ""
    """What it takes: kind of scan, channels, intensities, spacing, sizes; the config of weights says it exactly."""

    encoder: Any
    decoder: Any
    classifier: Any
    segmentation: Any
    restoration: Any
    load_report: loading.LoadReport | None = None

    def __init__(self, **shared: Unpack[Shared]) -> None:
        super().__init__()
        if unknown := sorted(shared.keys() - Shared.__annotations__.keys()):
            raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument {unknown[0]!r}")
        self.head: Head = head_of(shared.get("head", "pretext"))
        (self.in_chans,) = check_counts(in_chans=shared.get("in_chans", 1))
        self.num_classes = 0
        if self.head.has_classes:
            (self.num_classes,) = check_counts(num_classes=shared.get("num_classes", self.PATTERNS))
        self.class_names = checked_class_names(shared.get("class_names", ()), self.head, self.num_classes)
        self.multilabel = shared.get("multilabel", False)
        if not isinstance(self.multilabel, bool) or (self.multilabel and not self.head.classifies):
            raise InvalidInputError(
                f"multilabel={self.multilabel!r}: expected True or False, and True with head='classification' only"
            )
        self.preprocessing = self._checked_preprocessing(shared.get("preprocessing"))
        provenance = shared.get("provenance") or {}
        if not isinstance(provenance, Mapping):
            raise InvalidInputError(
                f"provenance is a {type(provenance).__name__}: expected facts by name, such as {{'licence': 'mit'}}"
            )
        self.provenance = dict(provenance)
        self._looked_at = False

    def assemble(self, encoder: nn.Module, /, **settings: Any) -> None:
        """Put the encoder into the network, and build what the head needs behind it.

        Args:
            settings: the values of `SETTINGS`, in JSON types.
        """
        if set(settings) != set(self.SETTINGS):
            raise TypeError(f"{type(self).__name__}.SETTINGS are {self.SETTINGS}, assembled with {tuple(settings)}")
        self._settings = settings
        self.encoder = encoder
        add_parts(self, self.head)

    def build_decoder(self, skips: bool = True) -> nn.Module:
        """A decoder for the encoder's feature maps.

        Args:
            skips: join the feature maps on the way; without them it is an autoencoder's.
        """
        return UNetDecoder(self.encoder.channels, self.encoder.strides, self.NDIM, norm="batch", skips=skips)

    def build_classifier(self) -> nn.Module:
        """What takes the deepest feature map to logits."""
        return Classifier(self.encoder.channels[-1], self.num_classes, ndim=self.NDIM)

    def build_last(self, out_chans: int) -> nn.Module:
        """What takes the decoder's result to that many channels, at the size of the input."""
        layer: nn.Module = CONVOLUTION[self.NDIM](self.decoder.out_chans, out_chans, kernel_size=1)
        return layer

    @property
    def head_name(self) -> str:
        """Name of the head, as in `from_pretrained(..., head=...)`."""
        return self.head.name

    @classmethod
    def preprocessing_class(cls) -> type[Any]:
        """Class of `preprocessing`."""
        return _PREPROCESSING[cls.NDIM]

    @classmethod
    def config_keys(cls) -> frozenset[str]:
        """Keys that config.json must hold, beside those of `OPTIONAL_KEYS`."""
        return frozenset({*cls.SETTINGS, *Shared.__annotations__} - loading.OPTIONAL_KEYS.keys())

    def config(self) -> dict[str, Any]:
        """What config.json holds: the arguments of the constructor, in JSON types."""
        names = checked_class_names(self.class_names, self.head, self.num_classes)
        return {
            **self._settings,
            "in_chans": self.in_chans,
            "head": self.head.name,
            "num_classes": self.num_classes,
            "class_names": list(names),
            "multilabel": self.multilabel,
            "preprocessing": self._checked_preprocessing(self.preprocessing).to_dict(),
            "provenance": self.provenance,
        }

    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls,
        name: str | os.PathLike[str] | ModelFiles,
        *,
        head: str | None = None,
        num_classes: int | None = None,
        class_names: Sequence[str] | None = None,
        multilabel: bool | None = None,
        in_chans: int | None = None,
        part: str | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        device: str | torch.device = "cpu",
        **settings: Any,
    ) -> Self:
        """A pretrained model in evaluation mode; `model.load_report` says what was loaded.

        Args:
            name: a registered name (`sg_hub.list_models()`), a folder with config.json and model.safetensors
                (one named like a registered model: write ./NAME, or give a `Path`), or a hub id.
            head: `pretext`, `restoration`, `segmentation`, `classification` or `features`; absent: the weights' own.
                With `num_classes` and no head, weights of pre-training get a segmentation head. A new head's last
                layer starts afresh; what the weights lack altogether does, too.
            num_classes: classes of the new head; needed when the head changes (or `class_names`, which say it).
            class_names: one for each class. Absent: those of the weights, where the head and its classes stay.
            multilabel: the classes are findings that do not exclude one another (classification). Absent: as with
                the weights, where the head and its classes stay.
            in_chans: input channels. The first convolution is averaged over its input channels and repeated,
                scaled so that the same image in every channel gives the same features as before; but nearly so from
                timm's weights of colour images, which scale each colour on its own, to 2, 4 or more channels, and
                not where that convolution standardises its weights (a warning says so).
            part: `encoder` takes the encoder's weights alone, and everything behind it starts afresh.
            revision: branch, tag or commit of the hub repository; a registered name has its own pinned.
            token, cache_dir, local_files_only, force_download: as in huggingface_hub.
            device: where the model goes.
            settings: those of the family that weights can do without, such as `norm` in 3D: `batch_stats`, `batch` or
                `instance`; absent: the weights' own.

        Raises:
            InvalidInputError: unknown name or option, or weights that do not fit the network.
            ReadError: a missing, damaged, newer or wrong file; no network.
        """
        asked = {"head": head, "num_classes": num_classes, "class_names": class_names, "multilabel": multilabel}
        changed = {"in_chans": in_chans, **settings}
        if isinstance(name, ModelFiles):  # sg_hub.from_pretrained has them, to see which class it is
            model = loading.load_model(cls, name, asked, changed, part)
        else:
            where = {"revision": revision, "token": token, "cache_dir": cache_dir}
            where |= {"local_files_only": local_files_only, "force_download": force_download}
            model = undisturbed(name, lambda: loading.load_model(cls, cls.find(name, **where), asked, changed, part))
        moved: Self = loading.moved(model.eval(), device)
        return moved

    @classmethod
    def find(cls, name: str | os.PathLike[str], **where: Any) -> ModelFiles:
        """Where the files of a name are; a family whose weights others keep as they are says so here.

        Args:
            where: revision, token, cache_dir, local_files_only, force_download.
        """
        return find_files(name, **where)

    @classmethod
    def planned(cls, name: str | os.PathLike[str]) -> Self:
        """The network of a name without memory, and without a look at its weights."""
        return cls.described(cls.find(name))[1]

    @classmethod
    def described(cls, files: ModelFiles) -> tuple[dict[str, Any], Self]:
        """The constructor's arguments that weights come with, and the network that they make, without memory."""
        config, network = loading.read_skeleton(cls, files.config)
        return config, network

    @classmethod
    def stored(cls, files: ModelFiles) -> tuple[dict[str, Tensor], str]:
        """The weights by the names that they have in that network, and the sha256 of their file."""
        return read_weights(files.weights, files.sha256)

    def forward(self, x: Tensor, pad: bool = False) -> Any:
        """Run the network on (N, in_chans, spatial...) in 0..1; see the class for what each head gives.

        Args:
            pad: accept any size: the far side of each axis is padded by its border, and the output cropped (but for
                feature maps, which are those of the padded input).

        Raises:
            InvalidInputError: a wrong shape, values that are not in 0..1 (HU, for instance), or another precision or
                device than that of the weights. Values are looked at in evaluation, and in training on the CPU; in
                training on a GPU, in the first batch after `train()`.
        """
        check_tensor(x, self.NDIM)
        size = x.shape[2:]
        if pad and x.ndim == self.NDIM + 2 and 0 not in size:  # what has no border is refused below
            x = pad_to_multiple(x, self.encoder.strides[-1])
        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return self.head.forward(self, self.encoder(x), size)
        self._check(x)
        try:
            return self.head.forward(self, self.encoder(x), size)
        except RuntimeError as error:
            if said := difference(x, next(self.encoder.parameters(), x)):
                raise InvalidInputError(said) from error
            raise
        except ValueError as error:
            if "Expected more than 1" not in str(error):
                raise
            raise InvalidInputError(
                f"input of shape {tuple(x.shape)} leaves one value per channel at the deepest level, which its "
                "normalisation cannot use: give larger inputs or (with batch normalisation) several at once"
                + ("; model.eval() normalises by running statistics, where it has them" if self.training else "")
            ) from error

    def preprocess(self, scan: Any) -> Tensor:
        """(1, in_chans, spatial...) in 0..1 of a `Scan` (3D) or an `Image` (2D), as these weights expect it."""
        result: Tensor = self.preprocessing.apply(scan, self.in_chans)
        return result

    def train(self, mode: bool = True) -> Self:
        self._looked_at = False
        return super().train(mode)

    def _check(self, x: Tensor) -> None:
        check_shape(x, self.in_chans, self.encoder.strides[-1], self.NDIM)
        # On a GPU a look at the values waits for all work before it, which every step of a training would pay for.
        if not (self.training and x.is_cuda and self._looked_at):
            check_values(x, *self.preprocessing.values)
            self._looked_at = True

    def _checked_preprocessing(self, given: Any) -> Any:
        expected = self.preprocessing_class()
        if given is None:
            return expected()
        if not isinstance(given, expected):
            what = "scans need" if self.NDIM == 3 else "images need"
            raise InvalidInputError(f"preprocessing is a {type(given).__name__}: {what} {expected.__name__}")
        return given


def check_counts(**counts: object) -> tuple[int, ...]:
    """Counts as whole numbers of at least 1, in the order in which they are given.

    Raises:
        InvalidInputError: naming the argument that is none.
    """
    found = [whole(value) or 0 for value in counts.values()]
    for (name, value), count in zip(counts.items(), found, strict=True):
        if not 1 <= count <= _MOST:
            raise InvalidInputError(f"{name}={value!r}: expected a whole number of at least 1")
    return tuple(found)
