"""Plain folders of encoders, as transformers loads them: the same network as the source."""

import numpy as np
import pytest
import torch
from transformers import AutoModel

import seeded
from embedge_export.merged import write_merged
from embedge_export.source.folder import open_source

WRITERS = {
    "bert": seeded.write_bert,
    "xlm-roberta": lambda folder: seeded.write_bert(folder, "xlm-roberta"),
    "distilbert": lambda folder: seeded.write_bert(folder, "distilbert", prefix="distilbert."),
    "mpnet": lambda folder: seeded.write_bert(folder, "mpnet", prefix="mpnet."),
    "modernbert": seeded.write_modernbert,
    "modernbert, newer": lambda folder: seeded.write_modernbert(folder, newer=True, prefix=""),
}


def rows(folder):
    network = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(5, 45)[None]
    with torch.inference_mode():
        return type(network), network(ids).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", list(WRITERS))
def test_a_plain_folder_is_the_same_network(kind, tmp_path):
    source = WRITERS[kind](tmp_path / "source")
    [folder] = write_merged(open_source(source), tmp_path / "plain", dtype="float32")
    (kind_of_source, expected), (kind_of_plain, got) = rows(source), rows(folder)
    assert kind_of_source is kind_of_plain
    np.testing.assert_array_equal(got, expected)
