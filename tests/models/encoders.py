"""A tiny encoder with random weights and its tokeniser, saved as a published one is."""

import json
from pathlib import Path
from typing import Any

import torch

SIGNS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
CHINESE = list(
    "的一是了我不在人有这质量很好喜欢差太书看价格便宜贵物流快慢送服务态度房间干净小旧来再会推荐值得买后悔，。！？"
)
LATIN = [*"abcdefghijklmnopqrstuvwxyz0123456789", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789")]
PIECES = [*SIGNS, *CHINESE, *LATIN, "phone", "##phone", "good", "check", "-", "!", ".", "😀"]
SIZES: dict[str, Any] = {
    "vocab_size": len(PIECES),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
}


def save(folder: Path, kind: str = "bert", seed: int = 0, **sizes: Any) -> Any:
    """Writes config.json, model.safetensors and tokenizer.json; returns the encoder."""
    import transformers

    torch.manual_seed(seed)
    settings = transformers.CONFIG_MAPPING[kind](**SIZES | sizes)
    encoder = transformers.AutoModel.from_config(settings).eval()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.disable_progress_bar()
    encoder.save_pretrained(folder)
    if bars:
        transformers.logging.enable_progress_bar()
    tokenizer = transformers.BertTokenizer(vocab={piece: k for k, piece in enumerate(PIECES)}, do_lower_case=True)
    tokenizer.save_pretrained(folder)
    assert json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["type"] == "WordPiece"
    return encoder
