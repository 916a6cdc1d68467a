"""Model folders that are not as save_pretrained wrote them."""

import json

from safetensors.torch import load_file, save_file

from sg_hub.hub.model_folder import sha256_of


def change_config(folder, **values):
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | values
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def change_state(folder, change):
    """Other weights, with a config that was written for them."""
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors")
    change_config(folder, weights_sha256=sha256_of(folder / "model.safetensors"))
