"""What of the documentation is not written by hand: `python -m docs.scripts.generate` writes it, a test compares.

docs/reference/target.md, recipe.md and grid.md: every key, from the settings that validate them. In README.md: the
table of weights, from the registry and the records of the model folders.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from sg_hub.hub.registry import PretrainedWeights, get_weights, list_models
from training.method_grid.recipe import Cell, GridRecipe, Trials, Worth
from training.methods.registry import method_class, methods
from training.publishing.cards.results_file import read_network
from training.run.explain import Key, keys_of
from training.run.recipe import Recipe
from training.targets.protocol import Target
from training.targets.readers import reader_class, reader_names

ROOT = Path(__file__).parent.parent.parent
MARK = re.compile(r"(<!-- weights: .*?-->\n).*?(<!-- end of weights -->)", re.DOTALL)
LEVEL = re.compile("not significantly|level with")
_NONE = ("", '""')
HEADER = "| key | what it is | takes | absent |\n|---|---|---|---|"
MADE = "<!-- Made by `python -m docs.scripts.generate`: edit the settings' own texts instead. -->\n"


def target_page() -> str:
    """Every key of a target's TOML."""
    folder = reader_class("folder", "")
    lines = [
        MADE,
        "# Keys of a target",
        "",
        "A target is a TOML file that says where labelled images lie, what is asked of the network, and how it is "
        "trained. `sg-hub init-target FOLDER` writes one, `sg-hub check TARGET` reads it through. The tables are those "
        'of `reader = "folder"`, a folder of your own; the other readers are for data sets as they are downloaded, and '
        "take the same keys but for those of label maps, and some of their own (below).",
        "",
        *_sections(folder),
    ]
    shared = {*folder.model_fields}
    for name in reader_names():
        own = [key for key in keys_of(reader_class(name, "")) if key.place.partition(".")[0] not in shared]
        if name != "folder" and own:
            lines += [f'## Of reader = "{name}" alone', "", HEADER, *map(_row, own), ""]
    known = {*Target.model_fields}
    assert known <= shared
    return "\n".join(lines)


def recipe_page() -> str:
    """Every key of a recipe's TOML, and those of each method."""
    lines = [
        MADE,
        "# Keys of a recipe",
        "",
        "A recipe is a TOML file with everything that determines a pre-training. Each key can be changed on the "
        'command line (`pretrain.epochs=3`), and `base = "NAME"` takes whatever is not said from another recipe.',
        "",
        *_sections(Recipe),
    ]
    shared = {"name", "semantics"}
    for name in methods():
        settings = method_class(name).Settings
        own = [key for key in keys_of(settings, "method") if key.place.partition(".")[2] not in shared]
        lines += [f'## [method] with name = "{name}"', "", method_class(name).about, ""]
        lines += [HEADER, *map(_row, own), ""] if own else ["No keys of its own.", ""]
    return "\n".join(lines)


def grid_page() -> str:
    """Every key of the TOML of a grid of methods."""
    lines = [
        MADE,
        "# Keys of a grid of methods",
        "",
        "A grid is a TOML file for `sg-hub compare-methods`: pre-trainings that differ in their method alone, and what "
        "is measured of them. Each key can be changed on the command line (`trials.count=10`).",
        "",
    ]
    sections = {"": GridRecipe, "[cells.NAME]": Cell, "[worth]": Worth, "[trials]": Trials}
    for section, model in sections.items():
        keys = [key for key in keys_of(model) if key.place not in ("cells", "worth", "trials")]
        lines += [f"## {section or 'Of the file itself'}", "", HEADER, *map(_row, keys), ""]
    return "\n".join(lines)


def weights_table() -> str:
    """A row for each of the registered weights; those that others published come last, a release's sizes in one row."""
    lines = [
        "| weights | for | parameters | file | trained | licence | measured, against random |",
        "|" + "---|" * 7,
    ]
    known = [get_weights(name) for name in list_models()]
    lines += [_own_row(weights) for weights in known if not weights.how_to_get]
    releases: dict[str, list[PretrainedWeights]] = {}
    for weights in known:
        if weights.how_to_get:
            releases.setdefault(re.sub(r"\d+$", "", weights.name), []).append(weights)
    return "\n".join([*lines, *map(_release_row, releases.values())])


def with_table(readme: str) -> str:
    """README with today's table of weights."""
    return MARK.sub(lambda found: f"{found[1]}{weights_table()}\n{found[2]}", readme)


PAGES = {"target.md": target_page, "recipe.md": recipe_page, "grid.md": grid_page}


def main() -> None:
    for name, page in PAGES.items():
        (ROOT / "docs" / "reference" / name).write_text(page(), encoding="utf-8")
    readme = ROOT / "README.md"
    readme.write_text(with_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


ABSENT = {
    "title": "the name",
    "dataset": "the name",
    "dims": "what the files are",
    "ndim": "as `dims`",
    "grid.intensity": "as the weights expect",
    "grid.low": "as the weights expect",
    "grid.high": "as the weights expect",
    "grid.spacing": "as the weights expect",
    "grid.size": "as the weights expect, where it is needed",
    "settings.patch": "as the weights expect",
}
"""Of a folder of one's own: what follows from elsewhere."""


def _sections(model: type[BaseModel]) -> Iterable[str]:
    """A table for the keys of the file itself, and one for each section."""
    keys = list(keys_of(model))
    for section in dict.fromkeys(key.place.rpartition(".")[0] for key in keys):
        yield from (f"## [{section}]" if section else "## Of the file itself", "", HEADER)
        yield from (
            _row(key, ABSENT if model is not Recipe else {}) for key in keys if key.place.rpartition(".")[0] == section
        )
        yield ""


def _row(key: Key, elsewhere: dict[str, str] | None = None) -> str:
    usual = "has to be given" if key.field.is_required() else f"`{key.default}`" if key.default not in _NONE else "none"
    absent = (elsewhere or {}).get(key.place, usual)
    example = f", such as `{key.example}`" if key.example and key.default not in key.example else ""
    name = key.place.rpartition(".")[2]
    cells = (f"`{name}`", key.meaning + example.replace(", such", " Such", 1), key.expected, absent)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _link(weights: PretrainedWeights) -> str:
    card = f"model_cards/{weights.name}/README.md"
    return f"[`{weights.name}`]({card})" if (ROOT / card).is_file() else f"`{weights.name}`"


def _kind(weights: PretrainedWeights) -> str:
    return "2D images" if weights.architecture.endswith("2D") else "3D scans"


def _own_row(weights: PretrainedWeights) -> str:
    """Of weights that were made here."""
    folder = ROOT / "model_cards" / weights.name
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    network = read_network(folder)
    called = re.split(r",| \(", network.provenance["data"])[0]
    data = f"on {results['patients']['train']} patients: {called}"
    parameters = f"{sum(value.numel() for value in network.parameters()) / 1e6:.2g} M"
    of_these = {
        key: [one for one in results.get(key, []) if one["sha256"] == weights.sha256] for key in ("worth", "transfer")
    }
    measured = "; ".join([*_as_they_are(of_these["worth"]), *_fine_tuned(of_these["transfer"])]) or "nothing"
    cells = (_link(weights), _kind(weights), parameters, f"{weights.size_mb:g} MB", data, weights.licence, measured)
    return f"| {' | '.join(cells)} |"


def _release_row(found: list[PretrainedWeights]) -> str:
    """Of what others published, and `sg-hub convert` makes a folder of."""
    found = sorted(found, key=lambda weights: weights.size_mb or 0)
    sizes = [weights.size_mb for weights in found if weights.size_mb]
    size = f"{sizes[0]:g} MB" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g} MB"
    data = re.search(r"trained (.*?)(?: \(|\.(?: |$))", found[0].description)
    names = ", ".join(map(_link, found)) if len(found) < 3 else f"{_link(found[0])} to {_link(found[-1])}"
    cells = (names, _kind(found[0]), "", size, data[1] if data else "", found[0].licence, "not here; you convert them")
    return f"| {' | '.join(cells)} |"


def _as_they_are(worth: list[dict]) -> Iterable[str]:
    """What the weights are worth without fine-tuning, of all that was tested."""
    verdict = r"Better than (?:a|one) random network in (\d+) of (\d+) measures, worse in (\d+)"
    found = [[int(count) for count in one.groups()] for text in worth if (one := re.match(verdict, text["verdict"]))]
    if found:
        better, of, worse = map(sum, zip(*found, strict=True))
        yield f"as they are better in {better}{f', worse in {worse}' if worse else ''} of {of} measures"


def _fine_tuned(transfer: list[dict]) -> Iterable[str]:
    """How often the weights were better, worse, or level, on the targets that they were measured on."""
    few = [one for one in transfer if one.get("labels")]
    for given, which in (([one for one in transfer if one not in few], ""), (few, " with few labels")):
        verdicts = Counter(
            "level" if LEVEL.search(one["verdict"]) else "better" if " better " in one["verdict"] else "worse"
            for one in given
        )
        said = ", ".join(f"{word} in {verdicts[word]}" for word in ("better", "level", "worse") if verdicts[word])
        if given:
            yield f"fine-tuned{which} {said} of {len(given)} {'comparisons' if which else 'tasks'}"


if __name__ == "__main__":
    main()
