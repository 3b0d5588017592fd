"""Makes the directories of this folder: tiny random networks, as transformers' save_pretrained writes them, and their exact
derivatives.

    NAME/config.json, model*.safetensors*    the network, in float32
    NAME/data.npz                            x and y: sequences of tokens, and the next tokens or the classes
    NAME/reference.json                      the loss, names and shapes in the order of named_parameters()
    NAME/reference.npz                       probe v, gradient, product H v, flat in that order
    llama2c/stories-v0.bin, -v1.bin          llama2.c's two forms of one network, by its export.py; its other files as above

Derivatives are by autograd of transformers' own modules in float64, with attention by plain matrix products. Where these
compute in float32 whatever the weights are (normalisation, softmax, cosines), they are made to follow in float64; angles of
rotary positions stay rounded to float32, as networks are trained with them. Run with torch and transformers 5.24:

    python make.py
"""

import json
import pathlib
import shutil
import struct

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding
from transformers.models.qwen2.modeling_qwen2 import Qwen2RotaryEmbedding
from transformers.models.qwen3.modeling_qwen3 import Qwen3RotaryEmbedding

HERE = pathlib.Path(__file__).parent
VOCAB, SEQUENCES, LENGTH = 17, 5, 7


class InDouble(TorchFunctionMode):
    """What asks for float32 gets float64."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        def swap(v):
            return torch.float64 if v is torch.float32 else v

        if func is torch.Tensor.float:
            return args[0].double()
        return func(*map(swap, args), **{k: swap(v) for k, v in (kwargs or {}).items()})


def angles(positions, inv_freq):
    return torch.from_numpy(np.float32(positions)[..., None] * np.float32(inv_freq)).double()


def rotary(self, x, position_ids):
    a = angles(position_ids.numpy(), self.inv_freq.numpy())
    a = torch.cat((a, a), dim=-1)
    return a.cos(), a.sin()


for c in LlamaRotaryEmbedding, MistralRotaryEmbedding, Qwen2RotaryEmbedding, Qwen3RotaryEmbedding:
    c.forward = rotary


def randomise(model, seed):
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        p.data = 0.4 * torch.randn(p.shape, generator=g)
        if "norm" in name.lower() or ".ln_" in name:
            p.data += float(name.endswith("weight"))


def reference(model, directory, x, y, outputs):
    """Writes data and derivatives; outputs(x) are those of the model."""
    model = model.double().eval()
    with InDouble():
        loss = F.cross_entropy(outputs(x).flatten(0, -2), y.flatten())
        params = dict(model.named_parameters())
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        flat = torch.cat([g.flatten() for g in grads])
        v = np.random.default_rng(0).standard_normal(len(flat)).astype(np.float32)
        product = torch.autograd.grad(flat @ torch.from_numpy(v).double(), list(params.values()))
    np.savez(directory / "reference.npz", probe=v, gradient=flat.detach().numpy(), product=torch.cat([p.flatten() for p in product]).numpy())
    np.savez(directory / "data.npz", x=x.numpy().astype(np.int32), y=y.numpy().astype(np.int32))
    text = json.dumps({"loss": loss.item(), "parameters": [[name, list(p.shape)] for name, p in params.items()]})
    (directory / "reference.json").write_text(text.replace("]], ", "]],\n") + "\n")
    print(f"{directory.name}: {len(flat)} parameters, loss {loss.item():.6f}, |g| {flat.norm().item():.3g}")


def tokens(seed):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(2, VOCAB, (SEQUENCES, LENGTH), generator=g)


def fresh(name):
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    return directory


def write(name, model, seed, edit=None, **save):
    """One directory: of a language model, or of a classifier of padded sequences."""
    directory = fresh(name)
    randomise(model, seed)
    model.save_pretrained(directory, **save)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if edit:
        file = directory / "config.json"
        config = json.loads(file.read_text())
        edit(config)
        file.write_text(json.dumps(config, indent=2) + "\n")
        model = type(model).from_pretrained(directory, attn_implementation="eager")
    x = tokens(seed)
    if "CausalLM" in type(model).__name__ or "LMHead" in type(model).__name__:
        y = tokens(seed + 1)
        reference(model, directory, x, y, lambda x: model(input_ids=x, use_cache=False).logits)
        return
    pad = model.config.pad_token_id
    for i in range(SEQUENCES):
        x[i, LENGTH - i:] = pad
    x[1, 3] = pad  # within: RoBERTa's positions do not count it
    y = torch.arange(SEQUENCES) % model.config.num_labels
    reference(model, directory, x, y, lambda x: model(input_ids=x, attention_mask=(x != pad).long()).logits)


def causal(kind, **settings):
    config = transformers.AutoConfig.for_model(kind, vocab_size=VOCAB, bos_token_id=None, eos_token_id=None, **settings)
    return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager")


def classifier(kind, labels, **settings):
    config = transformers.AutoConfig.for_model(kind, vocab_size=VOCAB, num_labels=labels, **settings)
    return transformers.AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")


def older(theta, scaling):
    """The settings of rotary positions as transformers wrote them before version 5."""

    def edit(config):
        del config["rope_parameters"]
        config["rope_theta"], config["rope_scaling"] = theta, scaling

    return edit


small = dict(hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=16)
gpt = dict(n_embd=8, n_head=2, n_layer=2, n_positions=16)


# llama2.c, after model.py and export.py of github.com/karpathy/llama2.c.
class RMSNorm(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


class Attention(nn.Module):
    def __init__(self, dim, heads, groups):
        super().__init__()
        self.heads, self.groups, self.size = heads, groups, dim // heads
        self.wq = nn.Linear(dim, dim, bias=False)
        self.wk = nn.Linear(dim, groups * self.size, bias=False)
        self.wv = nn.Linear(dim, groups * self.size, bias=False)
        self.wo = nn.Linear(dim, dim, bias=False)

    def forward(self, x, turn):
        b, t, _ = x.shape

        def rotate(z):  # neighbours are one complex number
            z = torch.view_as_complex(z.reshape(*z.shape[:-1], -1, 2).contiguous())
            return torch.view_as_real(z * turn[:, None]).flatten(-2)

        q = rotate(self.wq(x).view(b, t, self.heads, self.size))
        k = rotate(self.wk(x).view(b, t, self.groups, self.size)).repeat_interleave(self.heads // self.groups, 2)
        v = self.wv(x).view(b, t, self.groups, self.size).repeat_interleave(self.heads // self.groups, 2)
        scores = torch.einsum("bihd,bjhd->bhij", q, k) / self.size**0.5
        scores = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf"))
        return self.wo(torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v).reshape(b, t, -1))


class FeedForward(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.w1 = nn.Linear(dim, hidden, bias=False)
        self.w2 = nn.Linear(hidden, dim, bias=False)
        self.w3 = nn.Linear(dim, hidden, bias=False)

    def forward(self, x):
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    def __init__(self, dim, hidden, heads, groups):
        super().__init__()
        self.attention, self.feed_forward = Attention(dim, heads, groups), FeedForward(dim, hidden)
        self.attention_norm, self.ffn_norm = RMSNorm(dim), RMSNorm(dim)

    def forward(self, x, turn):
        x = x + self.attention(self.attention_norm(x), turn)
        return x + self.feed_forward(self.ffn_norm(x))


class Transformer(nn.Module):
    def __init__(self, dim=8, hidden=12, layers=2, heads=2, groups=1, context=16):
        super().__init__()
        self.header = [dim, hidden, layers, heads, groups, VOCAB, context]
        self.tok_embeddings = nn.Embedding(VOCAB, dim)
        self.layers = nn.ModuleList(Block(dim, hidden, heads, groups) for _ in range(layers))
        self.norm = RMSNorm(dim)
        self.output = nn.Linear(dim, VOCAB, bias=False)
        self.tok_embeddings.weight = self.output.weight
        size = dim // heads
        self.inv_freq = (1 / 10000 ** (torch.arange(0, size, 2).float() / size)).numpy()

    def forward(self, x):
        a = angles(np.arange(x.shape[1]), self.inv_freq)
        turn, h = torch.polar(torch.ones_like(a), a), self.tok_embeddings(x)
        for layer in self.layers:
            h = layer(h, turn)
        return self.output(self.norm(h))

    def export(self, directory):
        def put(file, *tensors):
            for t in tensors:
                file.write(t.detach().float().numpy().tobytes())

        def each(name):
            return [layer.get_submodule(name).weight for layer in self.layers]

        matrices = [each(f"attention.w{c}") for c in "qkvo"], [each(f"feed_forward.w{i}") for i in (1, 2, 3)]
        table = angles(np.arange(16), self.inv_freq)
        with open(directory / "stories-v0.bin", "wb") as file:
            file.write(struct.pack("7i", *self.header))
            put(file, self.tok_embeddings.weight, *each("attention_norm"), *sum(matrices[0], []), *each("ffn_norm"), *sum(matrices[1], []))
            put(file, self.norm.weight, table.cos(), table.sin())
        with open(directory / "stories-v1.bin", "wb") as file:
            file.write(struct.pack("Ii7iB", 0x616B3432, 1, *self.header, 1).ljust(256, b"\0"))
            put(file, *each("attention_norm"), *each("ffn_norm"), self.norm.weight, self.tok_embeddings.weight, *sum(matrices[0] + matrices[1], []))


def llama2c():
    directory = fresh("llama2c")
    model = Transformer()
    randomise(model, 90)
    model.export(directory)
    reference(model, directory, tokens(90), tokens(91), model)


if __name__ == "__main__":
    torch.manual_seed(0)
    write("gpt2", causal("gpt2", **gpt), 10)
    write("gpt2-other", causal("gpt2", **gpt, n_inner=12, activation_function="gelu", layer_norm_epsilon=1e-3, scale_attn_weights=False,
                               scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False), 20)
    write("llama", causal("llama", **small | {"max_position_embeddings": 64}, head_dim=6, rope_parameters={  # one pair below, within and above the scaling
        "rope_type": "llama3", "rope_theta": 20.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 32}),
        30, max_shard_size="3KB")
    write("llama-other", causal("llama", **small | {"num_key_value_heads": 4, "num_hidden_layers": 1}, head_dim=6, attention_bias=True, mlp_bias=True, hidden_act="gelu_new",
                                rms_norm_eps=1e-3, tie_word_embeddings=True), 40, edit=older(100.0, {"type": "linear", "factor": 2.0}))
    write("mistral", causal("mistral", **small, sliding_window=3), 50)
    write("qwen2", causal("qwen2", **small, tie_word_embeddings=True, use_sliding_window=True, sliding_window=2, max_window_layers=1), 60)
    write("qwen3", causal("qwen3", **small | {"num_hidden_layers": 1}, head_dim=6), 65)
    encoder = {k: v for k, v in small.items() if k != "num_key_value_heads"}
    write("bert", classifier("bert", 3, **encoder), 70)
    write("roberta", classifier("roberta", 2, **encoder | {"num_hidden_layers": 1}, hidden_act="relu2"), 80)
    write("distilbert", classifier("distilbert", 2, dim=8, hidden_dim=12, n_layers=1, n_heads=2, activation="quick_gelu", max_position_embeddings=16), 85)
    llama2c()
