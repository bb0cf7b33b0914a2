import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import architecture, config, export, graphs, network
from pipeline.compression import dynamic_int8
from pipeline.errors import ConfigError, DataError
from pipeline.examples import TextInputs
from pipeline.features import cleaning
from pipeline.fit import groups
from pipeline.fit.settings import Config as Train
from pipeline.initial import fitting
from pipeline.initial.pins import Pin
from pipeline.initial.sources import Source
from pipeline.models import hugging_face
from pipeline.optimizers import adamw
from pipeline.targets import Target
from pipeline.tokenisers import _pieces, bpe, wordpiece
from tests.models import encoders

PLACE = "weights/tiny"
TARGET = Target("classes", ("bad", "good"))
TEXTS = ["质量很好，物流快！", "good phone", "不值得买", "太差了 iphone6s 房间旧。"]
KINDS = {
    "bert": {},
    "roberta": {"pad_token_id": 1},  # whose places are counted from after that of padding
    "albert": {"embedding_size": 16},
    "electra": {"embedding_size": 16},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "modernbert": dict.fromkeys(("pad_token_id", "cls_token_id", "sep_token_id", "bos_token_id", "eos_token_id"), 0),
}


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def vocabulary(texts=TEXTS):
    """As featurize leaves it: the tokens that texts hold, in an order of its own."""
    pieces = tokeniser().cut_all(texts)
    return SimpleNamespace(words=["<pad>", "<unk>", *sorted({piece for line in pieces for piece in line})])


def tokeniser():
    Path("prepared").mkdir(exist_ok=True)
    Path("dictionaries").mkdir(exist_ok=True)
    shutil.copyfile(f"{PLACE}/tokenizer.json", "dictionaries/tokenizer.json")
    settings = wordpiece.Config(file="dictionaries/tokenizer.json")
    wordpiece.train(settings, [], Path("prepared"))
    return wordpiece.build(settings, Path("prepared"))


def ids(texts, words):
    index = {word: k for k, word in enumerate(words)}
    rows = [[index.get(piece, 1) for piece in pieces] for pieces in tokeniser().cut_all(texts)]
    out = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for k, row in enumerate(rows):
        out[k, : len(row)] = row
    return torch.from_numpy(out)


def build(words, length=16, **settings):
    """The network with the published weights, in evaluation mode."""
    chosen = hugging_face.resolved(config.parse(hugging_face.Config, {"path": PLACE, **settings}, "model"))
    torch.manual_seed(1)
    built = network.network(hugging_face, chosen, TextInputs(len(words), length), TARGET)
    hugging_face.words(built.body, SimpleNamespace(words=words))
    return network.Network(built.net.eval(), built.stages, built.body)


@pytest.mark.parametrize("kind", KINDS)
def test_the_trimmed_encoder_answers_as_the_published_one_reads_its_own_tokens(kind):
    import transformers

    published = encoders.save(Path(PLACE), kind, **KINDS[kind])
    words = vocabulary().words
    heads = {}
    for pooling in ("first", "mean"):
        net = build(words, pooling=pooling).net
        net.head = torch.nn.Identity()
        heads[pooling] = net(ids(TEXTS, words))
    its = transformers.AutoTokenizer.from_pretrained(PLACE)
    with torch.inference_mode():
        for k, text in enumerate(TEXTS):
            read = its(text, return_tensors="pt")
            expected = published(input_ids=read["input_ids"], attention_mask=read["attention_mask"])[0][0]
            torch.testing.assert_close(heads["first"][k], expected[0], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(heads["mean"][k], expected.mean(dim=0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        *TEXTS,
        "IPHONE6S的Good check-in!!! 123",
        "书好看😀😀再来👍🏽",
        "  前后\t空白\u3000全角空格 ",
        "ｇｏｏｄ 質量 café naïve Ａ",
        "[CLS]很好[MASK]",
        "好" * 600,
        "a" * 300,
        "很好\u200b\ufeff\ufffd\x00很",
        "",
    ],
)
def test_tokens_are_those_of_its_own_tokeniser(text):
    import transformers

    encoders.save(Path(PLACE))
    its = transformers.AutoTokenizer.from_pretrained(PLACE)
    assert tokeniser().cut(text) == its.convert_ids_to_tokens(its(text, add_special_tokens=False)["input_ids"])


PLAIN = cleaning.Steps(entities=False, invisible=False, normalise=False, lower=False)


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("good phone", True),
        ("不值得买。", True),
        ("质量很好，物流快！", False),
        ("IPHONE6S的Good check-in!!! 123", True),
        ("书好看😀😀再来", True),
        ("  前后\t空白 ", True),
        ("Ａ好", False),
        ("很好&amp;快", False),
        ("好👩\u200d👩\u200d👧", True),
    ],
)
def test_cleaning_alone_makes_tokens_differ_and_without_its_steps_they_do_not(text, alike):
    import transformers

    encoders.save(Path(PLACE))
    its = transformers.AutoTokenizer.from_pretrained(PLACE)
    expected = its.tokenize(text)
    assert tokeniser().cut(cleaning.clean(text, PLAIN)) == expected
    assert (tokeniser().cut(cleaning.clean(text)) == expected) == alike


def test_what_the_encoder_does_not_know_begins_as_its_unknown_piece():
    published = encoders.save(Path(PLACE)).get_input_embeddings().weight
    words = [*vocabulary().words, "某词"]
    rows = build(words).body.embedding.weight
    for k, word in enumerate(words[2:-1], 2):
        assert torch.equal(rows[k], published[encoders.PIECES.index(word)]), word
    assert torch.equal(rows[1], published[1]) and torch.equal(rows[len(words) - 1], published[1])
    assert torch.equal(rows[len(words) :], published[2:4])


def test_the_first_layers_alone_and_dropout():
    published = encoders.save(Path(PLACE))
    words = vocabulary().words
    found = build(words, layers=1, dropout=0.0)
    assert len(found.body.body.encoder.layer) == 1
    assert torch.equal(
        found.body.body.encoder.layer[0].output.dense.weight, published.encoder.layer[0].output.dense.weight
    )
    read = ids(TEXTS, words)
    assert torch.equal(found.net.train()(read), found.net.eval()(read))
    dropping = build(words).net.train()
    assert not torch.equal(dropping(read), dropping(read))


def test_weights_of_another_vocabulary_are_matched_by_word():
    encoders.save(Path(PLACE))
    known = vocabulary().words
    given = build(known)
    words = [*known[:2], *reversed(known[2:])]  # as many, in another order
    encoders.save(Path(PLACE), seed=1)
    found = build(words)
    state = {name: value.clone() for name, value in given.net.state_dict().items()}
    told = fitting.fit(found, Source(Pin("weights/x.safetensors", "0" * 64), state, known), words)
    assert told["kept"] == told["of"]
    torch.testing.assert_close(found.net(ids(TEXTS, words)), given.net(ids(TEXTS, known)))


def test_a_network_is_loaded_without_the_encoders_folder(tmp_path):
    encoders.save(Path(PLACE))
    words = vocabulary().words
    chosen = hugging_face.resolved(hugging_face.Config(path=PLACE))
    found, inputs = build(words), TextInputs(len(words), 16)
    about = network.describe("hugging_face", chosen, inputs, TARGET)
    assert about["config"]["digest"] and about["config"]["encoder"]["model_type"] == "bert"
    (tmp_path / "model.json").write_text(json.dumps(about))
    save_file(found.net.state_dict(), tmp_path / "weights.safetensors")
    read = ids(TEXTS, words)
    shutil.rmtree("weights")
    assert torch.equal(network.load(tmp_path).net(read), found.net(read))


def test_other_files_than_those_of_the_digest_are_refused():
    encoders.save(Path(PLACE))
    first = hugging_face.resolved(hugging_face.Config(path=PLACE))
    assert hugging_face.resolved(first) == first
    encoders.save(Path(PLACE), seed=1)
    assert hugging_face.resolved(hugging_face.Config(path=PLACE)).digest != first.digest
    with pytest.raises(DataError, match=r"weights/tiny: found files of sha256 .* take out model\.digest"):
        hugging_face.resolved(first)


def test_a_name_on_the_hub_is_read_from_its_cache_and_known_by_its_commit(monkeypatch):
    import huggingface_hub.constants

    commit = "1234567890" * 4
    encoders.save(Path(PLACE))
    cached = Path("cache/models--someone--tiny")
    shutil.copytree(PLACE, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs/main").write_text(commit)
    for name, value in (("HF_HUB_OFFLINE", True), ("HF_HUB_CACHE", str(Path("cache").absolute()))):
        monkeypatch.setattr(huggingface_hub.constants, name, value)
    words = vocabulary().words
    own = build(words)
    shutil.rmtree("weights")
    known = hugging_face.resolved(hugging_face.Config(path="someone/tiny"))
    assert known.revision == commit
    found = build(words, path="someone/tiny")
    assert torch.equal(found.body.embedding.weight, own.body.embedding.weight)
    with pytest.raises(DataError, match=r"someone/none \(revision main\): not had .* into weights/none") as caught:
        hugging_face.resolved(hugging_face.Config(path="someone/none"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json cannot be read"),
        (lambda folder: shutil.rmtree(folder), "no such folder"),
        (lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"), r"no model\.safetensors"),
    ],
)
def test_an_encoder_that_is_not_whole_is_refused(harm, words):
    encoders.save(Path(PLACE))
    harm(Path(PLACE))
    with pytest.raises(DataError, match=words):
        hugging_face.resolved(hugging_face.Config(path=PLACE))


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(change):
    encoders.save(Path(PLACE))
    words = vocabulary().words
    tensors = load_file(f"{PLACE}/model.safetensors")
    name = "encoder.layer.1.output.dense.weight"
    tensors[name] = tensors[name][:, :8].contiguous()
    if change == "missing":
        del tensors[name]
    save_file(tensors, f"{PLACE}/model.safetensors", {"format": "pt"})
    with pytest.raises(DataError, match=rf"weights lack {name}"):
        build(words)


def test_a_vocabulary_of_another_tokeniser_is_refused():
    encoders.save(Path(PLACE))
    with pytest.raises(DataError, match=r"1 of 4 tokens .* file: dictionaries/tokenizer\.json"):
        build(["<pad>", "<unk>", "质量", "很好", "物流", "好"])


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({}, "path: missing; expected an encoder's name"),
        ({"path": "/tmp/encoder"}, "expected an encoder's name on the hub"),
        ({"path": "weights/../../encoder"}, "expected an encoder's name on the hub"),
        ({"path": "a/b/c"}, "expected an encoder's name on the hub"),
        ({"path": "a/b", "layers": 0}, "layers"),
    ],
)
def test_impossible_settings_are_named(section, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(hugging_face.Config, section, "model")


@pytest.mark.parametrize(
    ("settings", "length", "message"),
    [
        ({"model_type": "bart"}, 16, "'bart', which also decodes"),
        ({"model_type": "brt"}, 16, "'brt'; expected one that transformers has"),
        ({"hidden_size": 30, "num_attention_heads": 4}, 16, "multiple of the number of attention heads"),
        ({"hidden_size": "many"}, 16, "hidden_size"),
        ({"model_type": "nystromformer"}, 16, "answers change with padding"),
        ({}, 79, "found 79; expected at most 78"),
        ({"model_type": "roberta", "pad_token_id": 1}, 77, "found 77; expected at most 76"),
    ],
)
def test_an_encoder_that_cannot_serve_is_refused(settings, length, message):
    chosen = hugging_face.Config(encoder={"model_type": "bert", **encoders.SIZES, **settings})
    with pytest.raises(ConfigError, match=message):
        hugging_face.build(chosen, inputs=TextInputs(30, length), outputs=2)


def test_a_folder_that_is_not_there_is_found_before_any_work():
    chosen = hugging_face.Config(path=PLACE)
    with pytest.raises(ConfigError, match=r"tasks\.a\.model\.path: found 'weights/tiny', which is missing"):
        hugging_face.require(chosen, "tasks.a.model")
    Path(PLACE).mkdir(parents=True)
    hugging_face.require(chosen, "tasks.a.model")
    hugging_face.require(hugging_face.Config(path="hfl/rbt3"), "tasks.a.model")


def test_more_layers_than_there_are():
    chosen = hugging_face.Config(encoder={"model_type": "bert", **encoders.SIZES}, layers=3)
    with pytest.raises(ConfigError, match="found 3; expected at most 2"):
        hugging_face.build(chosen, inputs=TextInputs(30, 16), outputs=2)


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_in_one_stage_and_layers_learn_slower_towards_the_input(kind):
    chosen = hugging_face.Config(encoder={"model_type": kind, **encoders.SIZES, **KINDS[kind]})
    found = network.network(hugging_face, chosen, TextInputs(30, 16), TARGET)
    staged = [id(value) for stage in found.stages for value in stage.parameters()]
    assert sorted(staged) == sorted(id(value) for value in found.net.parameters())
    assert found.stages[-1] is found.body.head
    assert any(value is found.body.embedding.weight for value in found.stages[0].parameters())
    settings = Train(layer_decay=0.5, optimizer=adamw.Config(learning_rate=1.0))
    rates = {group["lr"] for group in groups.groups(found.net, found.stages, settings, 1.0)}
    assert rates == {0.5**k for k in range(len(found.stages))} and len(found.stages) >= 3


def test_a_byte_level_tokeniser_as_robertas_is_bpe():
    import tokenizers
    import transformers

    texts = ["Good phone, good price!", "很好，good", "check-in 很慢 😀", " twice  good"]
    published = encoders.save(Path(PLACE), "roberta", vocab_size=300, pad_token_id=1)
    learnt = tokenizers.ByteLevelBPETokenizer()
    signs = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    learnt.train_from_iterator(texts, vocab_size=300, min_frequency=1, special_tokens=signs, show_progress=False)
    its = transformers.RobertaTokenizer(
        vocab=learnt.get_vocab(), merges=[tuple(pair) for pair in json.loads(learnt.to_str())["model"]["merges"]]
    )
    its.save_pretrained(PLACE)
    Path("dictionaries").mkdir()
    shutil.copyfile(f"{PLACE}/tokenizer.json", "dictionaries/tokenizer.json")
    settings = bpe.Config(file="dictionaries/tokenizer.json")
    bpe.train(settings, [], Path())
    pieces = bpe.build(settings, Path()).cut_all(texts)
    assert pieces == [its.tokenize(text) for text in texts]
    words = ["<pad>", "<unk>", *sorted({piece for line in pieces for piece in line})]
    net = build(words, length=70).net
    net.head = torch.nn.Identity()
    with torch.inference_mode():
        for text, line in zip(texts, pieces, strict=True):
            expected = published(**its(text, return_tensors="pt"))[0][:, 0]
            found = net(torch.tensor([[words.index(piece) for piece in line]]))
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_its_layers_are_told(kind):
    chosen = hugging_face.Config(encoder={"model_type": kind, **encoders.SIZES, **KINDS[kind]})
    net = network.network(hugging_face, chosen, TextInputs(30, 16), TARGET).net
    found = architecture.layers(net, TextInputs(30, 16))
    assert sum(layer.parameters for layer in found) == sum(value.numel() for value in net.parameters())
    words = next(layer for layer in found if layer.name.endswith(("word_embeddings", "tok_embeddings")))
    assert words.parameters == 32 * net.embedding.embedding_dim and words.shape == (18, net.embedding.embedding_dim)


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_the_graph_and_its_int8_form_answer_as_the_network(kind, tmp_path):
    encoders.save(Path(PLACE), kind, **KINDS[kind])
    words = vocabulary().words
    net, inputs = build(words).net, TextInputs(len(words), 16)
    export.export(net, inputs, tmp_path / "fp32.onnx")
    dynamic_int8.compress(tmp_path / "fp32.onnx", tmp_path / "int8.onnx", dynamic_int8.Config(), [])
    assert graphs.quantised(tmp_path / "int8.onnx") >= 8
    read = ids(TEXTS, words)
    for count in (1, 2, 4):
        expected = net(read[:count]).detach().numpy()
        for name, bound in (("fp32", 1e-4), ("int8", 0.1)):
            found = graphs.answer(graphs.session(tmp_path / f"{name}.onnx"))({"ids": read[:count].numpy()})
            assert np.abs(found - expected).max() < bound


def test_the_copied_tokeniser_is_the_encoders_own():
    encoders.save(Path(PLACE))
    tokeniser()
    assert (Path("prepared") / _pieces.FILE).read_bytes() == Path(PLACE, "tokenizer.json").read_bytes()
