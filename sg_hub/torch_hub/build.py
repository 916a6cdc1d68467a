"""One model of torch.hub: with weights, or without."""

from __future__ import annotations

from typing import Any, TypeVar

from sg_hub.errors import InvalidInputError
from sg_hub.hub.registry import is_registered, list_models
from sg_hub.models import PretrainedModel
from sg_hub.models.heads import CLASSES_MEAN, head_of

SMALL_2D = {"encoder": "lcnet_050", "decoder_width": 8}

Model = TypeVar("Model", bound=PretrainedModel)


def build(
    cls: type[Model], default: str, sizes: dict[str, Any], pretrained: bool, name: str | None, options: dict[str, Any]
) -> Model:
    """The model, with weights or (of these sizes) without."""
    if pretrained and name is None and not is_registered(default):
        raise InvalidInputError(
            f"the weights {default} are on no hub yet: give those of your own (name=FOLDER or a hub id), or "
            f"name=... one of {', '.join(list_models())}"
        )
    if pretrained:
        return cls.from_pretrained(name or default, **options)
    if name is not None:
        raise InvalidInputError(f"name={name!r} says which weights to load, but pretrained=False: give pretrained=True")
    if "num_classes" in options:
        options.setdefault("head", CLASSES_MEAN)
    elif head_of(options.get("head", "pretext")).is_task:
        raise InvalidInputError(f"head={options['head']!r} needs num_classes: give how many, such as num_classes=2")
    try:
        return cls(**{**sizes, **options})
    except TypeError as error:
        raise InvalidInputError(f"{error}: not an option of a network without weights (pretrained=False)") from error
