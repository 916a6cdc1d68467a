import pytest
import torch

from sg_hub import ImagePreprocessing, SemanticGenesis2D, SemanticGenesis3D, cli
from tests.sg_hub.cli.saying import PREPROCESSING


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of small models of scans, `pretext`, `segmentation`, `classification` (of classes with names), and of
    images, `pretext-2d` and so on.
    """
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    images = {"encoder": "lcnet_035", "decoder_width": 2, "preprocessing": ImagePreprocessing(input_size=(64, 64))}
    for head in ("pretext", "segmentation", "classification"):
        three, five = {"num_classes": 3, "head": head}, {"num_classes": 5, "head": head}
        if head == "classification":
            three["class_names"], five["class_names"] = ("healthy", "nodule", "mass"), tuple("abcde")
        model = SemanticGenesis3D(width=2, norm="batch", preprocessing=PREPROCESSING, **five)
        model.eval().save_pretrained(folder / head)
        SemanticGenesis2D(**three, **images).eval().save_pretrained(folder / f"{head}-2d")
    return folder


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = stopped.code
        out, error = capsys.readouterr()
        return code, out, error

    return run
