import copy
import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedge.errors import ManifestError
from embedge.pack.checks import safe_name
from embedge.pack.manifest import FileEntry, Manifest
from embedge.pack.reading import dump_manifest, parse_manifest, read_manifest
from embedge.pack.verification import Report
from support.tiny import IMAGE

MakePack = Callable[..., Path]


@pytest.fixture
def manifest(pack: Path) -> Manifest:
    return read_manifest(pack)


@pytest.fixture
def both(make_pack: MakePack) -> Manifest:
    """Of a pack with a text and an image tower."""
    return read_manifest(make_pack("both", image=IMAGE, precisions=("fp32", "int8")))


def test_what_is_written_is_read_back(manifest: Manifest) -> None:
    assert parse_manifest(dump_manifest(manifest)) == manifest


def test_an_image_input_is_read_back_and_null_where_there_is_none(
    manifest: Manifest, both: Manifest
) -> None:
    scaled = dataclasses.replace(both, image=dataclasses.replace(IMAGE, logit_scale=14.25))
    assert both.image == IMAGE
    assert parse_manifest(dump_manifest(scaled)) == scaled
    assert json.loads(dump_manifest(manifest))["image"] is None


def test_a_manifest_from_before_there_were_images_is_still_read(manifest: Manifest) -> None:
    root = json.loads(dump_manifest(manifest))
    del root["image"]
    assert parse_manifest(json.dumps(root)) == manifest


def test_the_size_of_the_embedding_table_may_be_left_out(manifest: Manifest) -> None:
    assert manifest.text is not None
    known = dataclasses.replace(
        manifest, text=dataclasses.replace(manifest.text, vocabulary_size=258)
    )
    root = json.loads(dump_manifest(known))
    assert parse_manifest(json.dumps(root)) == known
    del root["text"]["vocabulary_size"]  # as in packs from before it
    assert parse_manifest(json.dumps(root)) == manifest


@pytest.mark.parametrize(
    ("rows", "pad", "told"),
    [
        (0, 0, "vocabulary_size"),
        (2**31, 0, "vocabulary_size"),
        (256, 256, "pad_token_id is beyond the embedding table"),
        (None, 2**63, "pad_token_id is beyond"),
    ],
)
def test_the_padding_stays_within_the_embedding_table(
    manifest: Manifest, rows: int | None, pad: int, told: str
) -> None:
    assert manifest.text is not None
    text = dataclasses.replace(manifest.text, vocabulary_size=rows, pad_token_id=pad)
    with pytest.raises(ManifestError, match=told):
        dump_manifest(dataclasses.replace(manifest, text=text))


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": 2**40},
        {"resize": "squash"},
        {"interpolation": "nearest"},
        {"mean": (0.5,)},
        {"mean": (0.5, 0.5, float("nan"))},
        {"std": (1.0, 0.0, 1.0)},
        {"std": (1.0, float("inf"), 1.0)},
        {"fill": 256},
        {"per_image": -1},
        {"logit_scale": 0.0},
    ],
)
def test_an_image_input_that_makes_no_sense_is_refused(
    both: Manifest, change: dict[str, Any]
) -> None:
    (name,) = change
    root = json.loads(dump_manifest(both))
    root["image"].update(change)
    with pytest.raises(ManifestError, match=f"image.*{name}"):
        parse_manifest(json.dumps(root))


def test_image_graphs_and_the_image_input_come_together(manifest: Manifest, both: Manifest) -> None:
    with pytest.raises(ManifestError, match="image"):
        dump_manifest(dataclasses.replace(both, image=None))
    with pytest.raises(ManifestError, match="image"):
        dump_manifest(dataclasses.replace(manifest, image=IMAGE))


def test_a_precision_counts_only_if_both_towers_have_it(both: Manifest) -> None:
    assert both.precisions() == ("fp32", "int8")
    kept = tuple(
        graph
        for graph in both.graphs
        if (graph.task, graph.precision, graph.tower) != ("retrieval", "int8", "image")
    )
    assert dataclasses.replace(both, graphs=kept).precisions() == ("fp32",)


def test_the_fingerprint_follows_the_preprocessing(both: Manifest) -> None:
    def fingerprint(**changes: Any) -> str:
        image = dataclasses.replace(IMAGE, **changes)
        return dataclasses.replace(both, image=image).fingerprint("fp32")

    assert fingerprint(mean=(0.5, 0.5, 0.5)) != fingerprint()
    assert fingerprint(size=8) != fingerprint()
    assert fingerprint(per_image=5, logit_scale=2.0) == fingerprint()  # no vector depends on them


def test_the_json_file_has_the_fields_in_the_order_of_the_class(manifest: Manifest) -> None:
    names = list(json.loads(dump_manifest(manifest)))
    fields = [field.name for field in dataclasses.fields(Manifest)]
    assert names == ["format", "format_version", *fields]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tasks": ()}, "tasks is empty"),
        ({"tasks": ("a", "a"), "default_task": "a"}, "stands twice"),
        ({"default_task": "nothing"}, "default_task 'nothing'"),
        ({"default_prompt": "nothing"}, "default_prompt 'nothing'"),
        ({"dimension": 0}, "dimension"),
        ({"dimension": 2**40}, "dimension"),
        ({"matryoshka_dimensions": (16,)}, "matryoshka_dimensions"),
        ({"graphs": ()}, "graphs is empty"),
    ],
)
def test_contradictions_are_refused_with_the_field(
    manifest: Manifest, change: dict[str, Any], told: str
) -> None:
    with pytest.raises(ManifestError, match=told):
        dump_manifest(dataclasses.replace(manifest, **change))


@pytest.mark.parametrize(
    "kind", ["text", "image", "samples", "graphs", "files", "memory", "model_id"]
)
def test_a_field_of_another_type_is_refused_with_its_name(manifest: Manifest, kind: str) -> None:
    root = json.loads(dump_manifest(manifest))
    root[kind] = 5
    with pytest.raises(ManifestError, match=kind):
        parse_manifest(json.dumps(root))


def test_a_missing_and_an_unknown_field_are_refused_with_their_names(manifest: Manifest) -> None:
    root = json.loads(dump_manifest(manifest))
    with pytest.raises(ManifestError, match="'pooling'"):
        parse_manifest(json.dumps({k: v for k, v in root.items() if k != "pooling"}))
    with pytest.raises(ManifestError, match="'color'"):
        parse_manifest(json.dumps({**root, "color": "red"}))


def test_every_graph_is_found_by_task_and_precision(manifest: Manifest) -> None:
    assert manifest.precisions() == ("fp32",)
    assert manifest.graph(task="retrieval", precision="fp32").file == "retrieval.fp32.onnx"
    with pytest.raises(KeyError):
        manifest.graph(task="retrieval", precision="int8")


def test_a_precision_counts_only_if_every_task_has_it(make_pack: MakePack) -> None:
    manifest = read_manifest(make_pack(precisions=("fp32", "int8")))
    assert manifest.precisions() == ("fp32", "int8")
    kept = tuple(g for g in manifest.graphs if (g.task, g.precision) != ("retrieval", "int8"))
    assert dataclasses.replace(manifest, graphs=kept).precisions() == ("fp32",)


@pytest.mark.parametrize("reports", [{}, {"int8": Report()}, {"fp32": Report(passed=True)}])
def test_only_a_report_that_says_so_is_a_passed_gate(
    manifest: Manifest, reports: dict[str, Report]
) -> None:
    assert not dataclasses.replace(manifest, verification=reports).passed_gate("int8")
    passed = {"int8": Report(passed=True)}
    assert dataclasses.replace(manifest, verification=passed).passed_gate("int8")


# As exports write it: with finer linears and without, and with a graph that gave NaN.
VERIFICATION = {
    "fp16": {
        "passed": False,
        "failures": {"a": ["it gave NaN or infinity"]},
        "bars": {"cosine_min": 0.999, "difference_max": 0.01, "batch_difference": 1e-06},
        "texts": 31,
        "tasks": {
            "a": {
                "cosine_min": float("nan"),
                "cosine_mean": float("nan"),
                "difference_max": float("nan"),
                "rank_correlation": float("nan"),
                "batch_difference": float("nan"),
            }
        },
    },
    "int8": {
        "passed": True,
        "failures": {},
        "bars": {"cosine_min": 0.98, "difference_max": None, "batch_difference": 0},
        "texts": 31,
        "tasks": {
            "a": {
                "cosine_min": 0.9985508,
                "cosine_mean": 0.9998318,
                "difference_max": 0.0105550289,
                "rank_correlation": 0.9997502,
                "batch_difference": 0.0,
                "worst_linears": {"layers.1.down": 0.02, "layers.0.down": 0.0001},
                "ties": {"20": [0.99944117, 0.99882440]},
                "finer": ["layers.1.down"],
                "float32": [],
                "cosine_min_before": [0.99622, 0.83636],
                "finer_bytes": 28200960,
                "linears": 210,
            }
        },
        "image": {"cosine_min": 0.99, "worst_linears": {"blocks.0.up": 0.5}},
    },
}


def test_a_report_is_written_as_it_was_read(manifest: Manifest) -> None:
    root = json.loads(dump_manifest(manifest))
    root["verification"] = VERIFICATION
    read = parse_manifest(json.dumps(root))
    assert json.dumps(json.loads(dump_manifest(read))) == json.dumps(root)
    figures = read.verification["int8"].tasks["a"]
    assert figures.ties == {"20": (0.99944117, 0.99882440)}
    assert figures.finer == ("layers.1.down",)
    assert math.isnan(read.verification["fp16"].tasks["a"].cosine_min or 0)


def test_what_a_newer_version_reports_is_kept(manifest: Manifest) -> None:
    root = json.loads(dump_manifest(manifest))
    reports: Any = copy.deepcopy(VERIFICATION)
    reports["int8"]["seconds"] = [1, {"a": None}]
    reports["int8"]["bars"]["recall"] = 0.9
    reports["int8"]["tasks"]["a"]["recall"] = 0.99
    root["verification"] = reports
    read = parse_manifest(json.dumps(root))
    assert read.verification["int8"].other == {"seconds": [1, {"a": None}]}
    assert json.dumps(json.loads(dump_manifest(read))["verification"]) == json.dumps(
        {
            **reports,
            "int8": {k: v for k, v in reports["int8"].items() if k != "seconds"}
            | {"seconds": [1, {"a": None}]},
        }
    )


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ((), "passed", r"verification\['int8'\] must be an object"),
        (("passed",), 1, r"\.passed must be true or false"),
        (("failures", "a"), "text", r"\.failures\['a'\] must be a list"),
        (("bars", "cosine_min"), "0.9", r"\.bars\.cosine_min must be a number"),
        (("tasks",), 3, r"\.tasks must be an object"),
        (("tasks", "a"), [], r"\.tasks\['a'\] must be an object"),
        (("tasks", "a", "worst_linears"), ["x"], r"\.worst_linears must be an object"),
        (("tasks", "a", "worst_linears", "x"), "y", r"\.worst_linears\['x'\] must be a number"),
        (("tasks", "a", "finer"), [7], r"\.finer\[0\] must be a string"),
        (("tasks", "a", "cosine_min"), 10**400, r"\.cosine_min must be a number"),
        (("tasks", "a", "finer_bytes"), 10**400, r"\.finer_bytes is out of range"),
        (("tasks", "a", "linears"), -1, r"\.linears is out of range"),
    ],
)
def test_a_report_that_no_export_wrote_is_refused_with_its_field(
    manifest: Manifest, path: tuple[str, ...], value: object, where: str
) -> None:
    root = json.loads(dump_manifest(manifest))
    root["verification"] = copy.deepcopy(VERIFICATION)
    place, key = root["verification"], "int8"
    for name in path:
        place, key = place[key], name
    place[key] = value
    with pytest.raises(ManifestError, match=where):
        parse_manifest(json.dumps(root))


def test_the_fingerprint_follows_weights_and_prompts_and_nothing_else(manifest: Manifest) -> None:
    fingerprint = manifest.fingerprint("fp32")
    other = FileEntry(size=1, sha256="0" * 64)
    weights = dataclasses.replace(manifest, files={**manifest.files, "shared.bin": other})
    prompts = dataclasses.replace(manifest, prompts={**manifest.prompts, "query": "q: "})
    renamed = dataclasses.replace(manifest, model_id="another/name")
    assert weights.fingerprint("fp32") != fingerprint
    assert prompts.fingerprint("fp32") != fingerprint
    assert renamed.fingerprint("fp32") == fingerprint


def test_a_folder_without_manifest_says_how_to_make_a_pack(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="embedge export"):
        read_manifest(tmp_path)
    with pytest.raises(ManifestError, match="not a folder"):
        read_manifest(tmp_path / "missing")


@given(st.text(min_size=1, max_size=40))
def test_a_safe_name_stays_in_its_folder_here(name: str) -> None:
    if safe_name(name):
        assert (Path("/pack") / name).parent == Path("/pack")
        assert Path("/pack", name).name == name
