"""TransVW, transferable visual words (Haghighi et al., IEEE TMI 2021): the authors' extension of Semantic Genesis.

The same: visual words are the discovered patterns, found in the same way (`sg-hub discover`); one encoder with a branch
that classifies them and a decoder that restores them; lambda_rec * restoration + lambda_cls * classification.

What differs:

- words are disturbed by Models Genesis' transformations in any combination, not by an elastic deformation and exactly
  one of four (`transforms = "one"` is that);
- both branches are trained together from the first epoch, without a stage for the classification alone
  (`classification_epochs` above 0 is that);
- it is meant as an add-on to other methods: here that is `semantics = true` of the method in question, with these
  settings.

Not given here; chosen: lambda_rec = 1 and lambda_cls = 0.01, which are those of Semantic Genesis, as are the number of
words, K, and how long it trains.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import NonNegativeInt

from .restoration import Restoration, RestorationSettings
from .with_semantics import SOURCE, SemanticsSettings, WithSemantics


class TransVWSettings(SemanticsSettings, RestorationSettings):
    transforms: Literal["one", "combined"] = "combined"
    """`combined` as in Models Genesis, or `one` of four behind an elastic deformation as in Semantic Genesis."""
    classification_epochs: NonNegativeInt = 0
    """Epochs of the classification branch alone."""


class TransVW(WithSemantics):
    name = "transvw"
    title = "transferable visual words"
    about = "The network tells which discovered visual word a disturbed cube is of and restores it, from the start."
    source = (
        "F. Haghighi, M. R. Hosseinzadeh Taher, Z. Zhou, M. B. Gotway, J. Liang. Transferable Visual Words: Exploiting "
        f"the Semantics of Anatomical Patterns for Self-supervised Learning. IEEE TMI 2021; {SOURCE}"
    )
    Settings = TransVWSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(Restoration(settings))
        own = type(self)
        self.name, self.title, self.about, self.source = own.name, own.title, own.about, own.source

    def reference(self, ndim: int) -> str:
        return ""
