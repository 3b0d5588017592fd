"""Exact derivatives of every form of loss, by torch.nn.functional over the whole set at once, in float64 -> ../losses.npz, ../losses.json

    python losses.py
"""
import json, os
import numpy as np, torch, torch.nn.functional as F
import torch_models

torch.set_default_dtype(torch.float64)
here = os.path.dirname(os.path.abspath(__file__))
out, cases = {}, []
r = np.random.default_rng(7)


def f32(a):
    return np.asarray(a, np.float32).astype(np.float64)


def case(name, net, network, theta, x, y, loss, **options):
    torch.nn.utils.vector_to_parameters(torch.from_numpy(theta), net.parameters())
    fn = {"cross-entropy": lambda f, y: F.cross_entropy(f, y, weight=torch.tensor(options["class_weights"]) if "class_weights" in options else None,
                                                        label_smoothing=options.get("label_smoothing", 0.0), ignore_index=options.get("ignore_index", -100)),
          "mse": F.mse_loss, "bce": F.binary_cross_entropy_with_logits}[loss]
    xt, yt = torch.from_numpy(out[x]), torch.from_numpy(out[y])
    f = net(xt)
    f = f.reshape(-1, f.shape[-1])
    if loss == "cross-entropy" and yt.dtype == torch.int64:
        yt = yt.reshape(-1)
    L = fn(f, yt.double() if loss == "bce" else yt)
    params = list(net.parameters())
    g = torch.autograd.grad(L, params, create_graph=True)
    v = torch.from_numpy(out["v." + network])
    flat = torch.cat([t.reshape(-1) for t in g])
    hv = torch.autograd.grad(flat @ v, params)
    out[name + ".g"], out[name + ".Hv"] = flat.detach().numpy(), torch.cat([t.reshape(-1) for t in hv]).numpy()
    n = yt.shape[0]
    if "ignore_index" in options:
        n = int((yt != options["ignore_index"]).sum())
    cases.append(dict(name=name, network=network, theta="theta." + network, v="v." + network, x=x, y=y, loss=loss, N=n, L=L.item(), **options))


mlp, name = torch_models.mlp([12, 9, 6], "tanh"), "mlp:12-9-6,tanh"
n = sum(p.numel() for p in mlp.parameters())
theta = f32(r.standard_normal(n) * 0.4)
out["theta." + name], out["v." + name] = theta, f32(r.standard_normal(n))
out["x"] = f32(r.standard_normal((41, 12)))
labels = r.integers(0, 6, 41)
out["y.labels"] = labels
out["y.some"] = np.where(np.arange(41) % 4 == 1, -100, labels)
soft = r.random((41, 6)) + 0.05
out["y.soft"] = soft / soft.sum(1, keepdims=True)
out["y.zero_one"] = r.integers(0, 2, (41, 6))
out["y.shares"] = r.random((41, 6))
w = [1.0, 0.25, 3.0, 0.0, 0.5, 2.0]
for nm, y, loss, o in [
    ("labels", "y.labels", "cross-entropy", {}),
    ("smoothed", "y.labels", "cross-entropy", dict(label_smoothing=0.1)),
    ("weighted", "y.labels", "cross-entropy", dict(class_weights=w)),
    ("weighted-smoothed", "y.labels", "cross-entropy", dict(class_weights=w, label_smoothing=0.2)),
    ("ignored", "y.some", "cross-entropy", dict(ignore_index=-100)),
    ("ignored-class", "y.labels", "cross-entropy", dict(ignore_index=2)),
    ("all", "y.some", "cross-entropy", dict(class_weights=w, label_smoothing=0.2, ignore_index=-100)),
    ("soft", "y.soft", "cross-entropy", {}),
    ("soft-all", "y.soft", "cross-entropy", dict(class_weights=w, label_smoothing=0.2)),
    ("bce", "y.shares", "bce", {}),
    ("bce-integers", "y.zero_one", "bce", {}),
    ("mse", "y.shares", "mse", {}),
]:
    case(nm, mlp, name, theta, "x", y, loss, **o)

gpt, name = torch_models.GPT(vocab=11, ctx=6, layers=1, heads=2, d=8), "gpt2:layers=1,heads=2,width=8,context=6,vocab=11"
n = sum(p.numel() for p in gpt.parameters())
theta = f32(np.concatenate([p.detach().numpy().reshape(-1) for p in gpt.parameters()]) + r.standard_normal(n) * 0.2)
out["theta." + name], out["v." + name] = theta, f32(r.standard_normal(n))
out["tokens"] = r.integers(0, 11, (9, 6))
nxt = r.integers(0, 11, (9, 6))
out["y.tokens"] = np.where(r.random((9, 6)) < 0.4, -100, nxt)
case("tokens-ignored", gpt, name, theta, "tokens", "y.tokens", "cross-entropy", ignore_index=-100)
case("tokens-all", gpt, name, theta, "tokens", "y.tokens", "cross-entropy", ignore_index=-100, label_smoothing=0.1, class_weights=[0.5 + 0.1 * i for i in range(11)])

np.savez_compressed(os.path.join(here, "..", "losses.npz"), **out)
with open(os.path.join(here, "..", "losses.json"), "w") as f:
    json.dump(cases, f, indent=1)
    f.write("\n")
for c in cases:
    print(c["name"], c["N"], c["L"])
