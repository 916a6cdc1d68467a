"""What a trial works on: a target found, split, checked, read and drawn from, and where its network starts from."""

PROTOCOL = 4
"""Raised when a change of the code makes older results incomparable: items are read, and trials computed, anew.

4: an item that is smaller than the patch is in the middle of it, its border repeated, as in prediction; it was padded
with 0 behind.

3: a class that is neither in the truth nor found is left out of the mean; findings are the same in the validation and
the test part; numbers of no class are no background; patients of the pre-training are not tested on in ncc and ncs. The
fingerprints of fresh networks are others than before, for norm modes have other names; results of protocol 2 could not
be compared with newer ones in any case: `sg-hub report` takes the newest of each target, and says what it leaves out.
"""
