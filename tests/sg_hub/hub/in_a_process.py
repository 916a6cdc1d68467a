"""What a user does with a hub, in a process of its own, and how what lies in the cache is checked."""

import os
from pathlib import Path

import pytest
import torch

from sg_hub import SemanticGenesis3D
from tests.support.hub_server import etag, sha256


def build(seed):
    torch.manual_seed(seed)
    return SemanticGenesis3D(width=2, num_classes=5, norm="batch")


def load(name, token_in_environment="", **options):
    import sg_hub

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", token_in_environment)
        model = sg_hub.from_pretrained(name, **options)
    report = model.load_report
    return {"revision": report.revision, "sha256": report.sha256, "source": report.source, "classes": model.num_classes}


def load_registered(entry, **options):
    """Load the model `pinned`, with the registry holding nothing but `entry` of it."""
    from sg_hub.hub import registry

    weights = registry.PretrainedWeights(name="pinned", **entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registry", lambda: {"pinned": weights})
        return load("pinned", **options)


def push(seed, repo_id, **options):
    return build(seed).push_to_hub(repo_id, **options).oid


def push_2d(repo_id, **options):
    from sg_hub import SemanticGenesis2D

    return SemanticGenesis2D(encoder="lcnet_050", num_classes=3).push_to_hub(repo_id, **options).oid


def save_and_push(seed, folder, repo_id, **options):
    build(seed).save_pretrained(folder, repo_id=repo_id, push_to_hub=True, **options)


def snapshot(repo_id, **options):
    from huggingface_hub import snapshot_download

    return snapshot_download(repo_id, **options)


def tag(repo_id, name, token):
    from huggingface_hub import HfApi

    HfApi(token=token).create_tag(repo_id, tag=name)


def whoami(token):
    from huggingface_hub import HfApi

    return HfApi(token=token).whoami()["name"]


def hashes(files):
    return sha256(files["model.safetensors"])


def check_cache(cache):
    """Whatever a load would find in the cache is whole: its name is its hash."""
    pointers = [path for path in Path(cache).rglob("*") if path.is_symlink()]
    for path in pointers:
        assert Path(os.readlink(path)).name == etag(path.name, path.read_bytes()), path
    for blob in Path(cache).rglob("blobs/*"):
        if not blob.name.endswith(".incomplete"):
            assert blob.name in (sha256(blob.read_bytes()), etag("", blob.read_bytes()))
    return pointers
