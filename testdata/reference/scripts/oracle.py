"""Exact derivatives of the reference networks in float64: python oracle.py [CASE ...]     (no name: all of CASES)

Writes ../cases/CASE.npz and its entry in ../cases.json. For each case, with N examples (tokens for the language model),

    L(theta) = (1/N) sum_i l_i(theta) + (wd/2) |theta|^2
    H v = d/de grad L(theta + e v)                        forward over reverse
    G v = (1/N) sum_i J_i' S_i J_i v + wd v               J_i = d f_i / d theta, S_i = d2 l_i / d f_i^2
    M v = (1/N) sum_i g_i (g_i . v)                       g_i = d l_i / d theta, without weight decay

theta is flat in the order of named_parameters(). Dense matrices come from products with unit vectors. Convolution and BatchNorm are
written out (im2col and the textbook formula), so that forward over reverse batches well; every H v is checked against double
backward through PyTorch's own convolution and BatchNorm, and every dense matrix against H v, G v, M v."""
import copy, json, os, sys, time
import numpy as np, scipy.linalg, torch, torch.nn as nn, torch.nn.functional as F
from safetensors.torch import load_file
from scipy.sparse.linalg import LinearOperator, eigsh
from torch.func import functional_call, grad, jvp, vjp, vmap

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))      # testdata/reference
import data
from torch_models import build

torch.set_default_dtype(torch.float64)
MAX_FILE = 3.9e6                  # bytes; a larger case is written as several .npz files
MEAN, STD = data.IMAGENET


def conv(m, x):
    """nn.Conv2d as im2col and one matrix product."""
    (kh, kw), (sh, sw), (ph, pw) = m.kernel_size, m.stride, m.padding
    cols = F.unfold(x, (kh, kw), padding=(ph, pw), stride=(sh, sw)).transpose(1, 2)            # B, L, C kh kw
    y = cols @ m.weight.flatten(1).T
    if m.bias is not None:
        y = y + m.bias
    return y.transpose(1, 2).unflatten(2, ((x.shape[2] + 2 * ph - kh) // sh + 1, -1))


def batch_norm(m, x):
    """nn.BatchNorm2d; statistics of the batch (biased variance) where the module keeps no running ones."""
    col = lambda t: t.reshape(1, -1, 1, 1)
    if m.running_mean is None:
        mean = x.mean((0, 2, 3), keepdim=True)
        var = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
    else:
        mean, var = col(m.running_mean), col(m.running_var)
    return (x - mean) * (col(m.weight) / torch.sqrt(var + m.eps)) + col(m.bias)


def written_out(net):
    net = copy.deepcopy(net)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            m.forward = conv.__get__(m)
        if isinstance(m, nn.BatchNorm2d):
            m.forward = batch_norm.__get__(m)
    return net


class Problem:
    """The loss of one network on one data set, and the operators of its curvature, on flat parameter vectors."""
    def __init__(self, net, x, y, batch=None, train=False, loss="cross-entropy", wd=0.0):
        net = copy.deepcopy(net).double().train(train)
        self.theta = torch.cat([p.detach().flatten() for p in net.parameters()])
        self.names = [(k, tuple(p.shape)) for k, p in net.named_parameters()]
        if train:                                            # statistics of each batch; nothing is updated
            for m in net.modules():
                if isinstance(m, nn.BatchNorm2d):
                    m.track_running_stats, m.running_mean, m.running_var, m.num_batches_tracked = False, None, None, None
        self.native, self.net, self.train = net, written_out(net), train
        self.x, self.y, self.batch, self.kind, self.wd = x, y, batch or len(x), loss, wd
        self.n, self.N = len(self.theta), y.numel() if loss == "cross-entropy" else len(y)

    def split(self, theta):
        """Named parameters. A shorter theta is the last part of it: the parameters before are constants."""
        out, i, fixed = {}, 0, self.n - len(theta)
        for k, s in self.names:
            j = i + int(np.prod(s))
            out[k] = (self.theta[i:j] if i < fixed else theta[i - fixed:j - fixed]).view(s); i = j
        return out

    def outputs(self, theta, net=None):
        """Logits (N, C), each batch through the network by itself."""
        p = self.split(theta)
        f = torch.cat([functional_call(net or self.net, p, (xb,)) for xb in self.x.split(self.batch)])
        return f.reshape(-1, f.shape[-1])

    def losses(self, theta, net=None):
        """l_i (N,)"""
        f = self.outputs(theta, net)
        if self.kind == "cross-entropy":
            return F.cross_entropy(f, self.y.flatten(), reduction="none")
        return ((f - self.y) ** 2).mean(1)

    def loss(self, theta, net=None):
        return self.losses(theta, net).mean() + 0.5 * self.wd * (theta @ theta)

    def gradient(self, theta):
        return grad(self.loss)(theta)

    def hv(self, v):
        return jvp(self.gradient, (self.theta,), (v,))[1]

    def hv_native(self, v):
        """Double backward through PyTorch's own layers."""
        t = self.theta.clone().requires_grad_()
        g, = torch.autograd.grad(self.loss(t, self.native), t, create_graph=True)
        return torch.autograd.grad(g, t, v)[0]

    def output_hessian(self, f, d):
        """S_i d_i for each example; f and d are (N, C)."""
        if self.kind == "cross-entropy":
            p = torch.softmax(f, 1)
            return p * (d - (p * d).sum(1, keepdim=True))
        return 2.0 / f.shape[1] * d

    def gv(self, v):
        f, d = jvp(self.outputs, (self.theta,), (v,))
        return vjp(self.outputs, self.theta)[1](self.output_hessian(f, d))[0] / self.N + self.wd * v

    def mv(self, v, group=1):
        """group > 1: the 'example' is the mean over so many consecutive rows (a sequence of tokens)."""
        f = lambda t: self.losses(t).view(-1, group).mean(1)
        d = jvp(f, (self.theta,), (v,))[1]
        return vjp(f, self.theta)[1](d)[0] / len(d)

    def columns(self, op, idx, chunk):
        """op applied to the unit vectors idx, as rows."""
        for i in idx.split(chunk):
            yield vmap(op)(F.one_hot(i, self.n).to(self.theta.dtype)).detach()

    def by_tensor(self, make, chunk):
        """For each parameter tensor [i, j): make(t)(unit vector) for all its columns, where t = theta[i:]. Names come in the order of
        depth, so that nothing is differentiated below the tensor."""
        i = 0
        for _, s in self.names:
            j, t = i + int(np.prod(s)), self.theta[i:]
            yield i, j, torch.cat([vmap(make(t))(F.one_hot(k, len(t)).to(t.dtype)).detach() for k in torch.arange(j - i).split(chunk)])
            i = j

    def dense_h(self, chunk=16):
        """H (n, n), from the columns of each tensor and the rows at and below it, and the largest asymmetry within the diagonal blocks."""
        H, asymmetry = torch.zeros(self.n, self.n), 0.0
        for i, j, h in self.by_tensor(lambda t: lambda v: jvp(self.gradient, (t,), (v,))[1], chunk):
            block = h[:, :j - i]
            asymmetry = max(asymmetry, float((block - block.T).abs().max()))
            H[i:j, i:j] = (block + block.T) / 2
            H[i:j, j:], H[j:, i:j] = h[:, j - i:], h[:, j - i:].T
        return H, asymmetry

    def jacobian(self, chunk=16):
        """d f / d theta (N, C, n)"""
        J = torch.empty(self.N, self.outputs(self.theta).shape[1], self.n)
        for i, j, d in self.by_tensor(lambda t: lambda v: jvp(self.outputs, (t,), (v,))[1], chunk):
            J[:, :, i:j] = d.permute(1, 2, 0)
        return J

    def dense_g_and_m(self, chunk=16):
        """G, M and the per-example gradients (N, n), from the Jacobian."""
        J = self.jacobian(chunk)
        f = self.outputs(self.theta).detach()
        if self.kind == "cross-entropy":
            p = torch.softmax(f, 1)
            B = torch.diag_embed(p.sqrt()) - p[:, :, None] * p.sqrt()[:, None, :]          # S = B B'
            r = p - F.one_hot(self.y.flatten(), p.shape[1])
        else:
            B = torch.eye(f.shape[1]).expand(self.N, -1, -1) * (2.0 / f.shape[1]) ** 0.5
            r = 2.0 / f.shape[1] * (f - self.y)
        K = (B.transpose(1, 2) @ J).reshape(-1, self.n)
        g = (r[:, None, :] @ J).squeeze(1)
        return K.T @ K / self.N + self.wd * torch.eye(self.n), g.T @ g / self.N, g

    def extreme(self, op, k, which, tol=1e-9):
        """k eigenvalues, descending, by implicitly restarted Lanczos, and their residuals |op u - lambda u|."""
        A = LinearOperator((self.n, self.n), matvec=lambda v: op(torch.from_numpy(np.ascontiguousarray(v.ravel()))).numpy(), dtype=np.float64)
        lam, u = eigsh(A, k, which=which, tol=tol, ncv=max(20, 4 * k), v0=np.random.default_rng(2).standard_normal(self.n))
        o = np.argsort(-lam)
        lam, u = lam[o], u[:, o]
        return lam, np.array([np.linalg.norm(A @ u[:, j] - lam[j] * u[:, j]) for j in range(k)])


# ---------------------------------------------------------------- the cases

def checkpoint(network, file):
    """A network with the weights of a file (relative to testdata/)."""
    net = build(network)
    path = os.path.join(HERE, "..", file)
    if file.endswith(".th"):
        sd = {k.removeprefix("module."): v for k, v in torch.load(path, map_location="cpu", weights_only=True)["state_dict"].items()}
    else:
        sd = load_file(path)
    net.load_state_dict(sd)
    return net.double()


def idx_images(folder, n):
    x, y = data.idx(folder, "train", n)
    return dict(x=torch.tensor(x), y=torch.tensor(y), raw=np.rint(x * 255).astype(np.uint8),
                data=dict(x=f"first {n} of {folder}/train-images-idx3-ubyte", y=f"first {n} of {folder}/train-labels-idx1-ubyte", scale="x = byte / 255"))


def cifar_images(n):
    x, y = data.cifar(n)
    raw = np.rint((x * np.reshape(STD, (3, 1, 1)) + np.reshape(MEAN, (3, 1, 1))) * 255).astype(np.uint8)
    return dict(x=torch.tensor(x), y=torch.tensor(y), raw=raw,
                data=dict(x=f"first {n} of cifar-10-batches-bin/data_batch_1.bin", scale="x = (byte / 255 - mean) / std", mean=MEAN, std=STD))


def tokens(n, ctx):
    x, y = data.text(n, ctx)
    return dict(x=torch.tensor(x), y=torch.tensor(y), raw=x.astype(np.int64),
                data=dict(x=f"first {n} windows of {ctx} characters of tinyshakespeare.txt, vocabulary = its sorted characters", y="the same, one character to the right"))


def random_data(n, d, c, regression=False):
    """Rounded to float32, so that an engine in either precision holds the same numbers."""
    r = np.random.default_rng(3)
    x = r.standard_normal((n, d)).astype(np.float32).astype(np.float64)
    y = r.standard_normal((n, c)).astype(np.float32).astype(np.float64) if regression else r.integers(0, c, n)
    return dict(x=torch.tensor(x), y=torch.tensor(y), raw=x, data=dict(x="random, in the .npz", y="random, in the .npz"))


def random_net(network, zero=False):
    torch.manual_seed(4)
    net = build(network)
    for p in net.parameters():
        p.data = torch.zeros_like(p) if zero else (1.5 * p.data).float().double()
    return net


CKPT = "reference/checkpoints/"
NOBN, BN, MLP = CKPT + "smallcnn-nobn-final.safetensors", CKPT + "smallcnn-bn-final.safetensors", CKPT + "mlp-final.safetensors"
LENET, GPT_F, RESNET = CKPT + "lenet5-final.safetensors", CKPT + "gpt-final.safetensors", "data/resnet20-12fca82f.th"
fashion = lambda n: lambda: idx_images("fashion-mnist", n)
mnist = lambda n: lambda: idx_images("mnist", n)
small = lambda **k: lambda: random_data(50, 20, 5, **k)

# name -> network, weights (None: random, theta in the .npz; "zero"), data, options
CASES = {
    "linear-zero": dict(network="mlp:20-5", weights="zero", data=small(), dense=True, smooth=True),
    "mlp-tanh": dict(network="mlp:20-16-8-5:tanh", data=small(), dense=True, smooth=True),
    "mlp-gelu": dict(network="mlp:20-16-8-5:gelu", data=small(), dense=True, smooth=True),
    "mlp-relu": dict(network="mlp:20-16-8-5:relu", data=small(), dense=True),
    "mlp-tanh-mse": dict(network="mlp:20-16-8-5:tanh", data=small(regression=True), loss="mse", dense=True, smooth=True),
    "mlp-gelu-wd": dict(network="mlp:20-16-8-5:gelu", data=small(), wd=0.01, dense=True, smooth=True),
    "mlp-mnist": dict(network="mlp:784-20-10", weights=MLP, data=mnist(1000)),
    "lenet5": dict(network="lenet5", weights=LENET, data=mnist(64), extreme=5, adam=CKPT + "lenet5-adam.pt"),
    "gpt": dict(network="gpt:2,4,64,64", weights=GPT_F, data=lambda: tokens(4, 64), smooth=True, extreme=5, sequence=64),
    "smallcnn-nobn-ragged": dict(network="smallcnn-nobn", weights=NOBN, data=fashion(100), batch=32),
    "smallcnn-bn-ragged-train": dict(network="smallcnn", weights=BN, data=fashion(100), batch=32, train=True),
    "smallcnn-bn-eval": dict(network="smallcnn", weights=BN, data=fashion(64), dense=True),
    "smallcnn-bn-train": dict(network="smallcnn", weights=BN, data=fashion(64), train=True, dense=True),
    "smallcnn-bn-ghost": dict(network="smallcnn", weights=BN, data=fashion(64), batch=32, train=True, dense=True),
    "smallcnn-nobn": dict(network="smallcnn-nobn", weights=NOBN, data=fashion(256), dense=True, blocks=True),
    "smallcnn-nobn-512": dict(network="smallcnn-nobn", weights=NOBN, data=fashion(512), dense=True, landscape=10),
    "smallcnn-bn-eval-512": dict(network="smallcnn", weights=BN, data=fashion(512), dense=True, landscape=10),
    "smallcnn-bn-train-512": dict(network="smallcnn", weights=BN, data=fashion(512), train=True, dense=True, landscape=10),
    "resnet20": dict(network="resnet20a", weights=RESNET, data=lambda: cifar_images(64), extreme=3),
}


def make(network, weights=None, data=None, loss="cross-entropy", batch=None, train=False, wd=0.0, **_):
    d = data()
    net = checkpoint(network, weights) if weights and weights != "zero" else random_net(network, zero=weights == "zero")
    return Problem(net, d["x"], d["y"], batch, train, loss, wd), d


def rel(a, b):
    return float((a - b).norm() / b.norm())


def landscape(H, eig_H, eig_M, per_example, K):
    """Facts of the loss landscape that follow from the dense H (n, n), the eigensystems of H and M, and g_i (N, n)."""
    (lam, U), (mu, W), g = eig_H, eig_M, per_example.mean(0)
    top, topM = U[:, ::-1][:, :K], W[:, ::-1][:, :K]
    angles = np.degrees(np.arccos(np.clip(np.linalg.svd(top.T @ topM, compute_uv=False), -1, 1)))
    hm = np.einsum("ij,ij->", per_example @ H, per_example) / len(per_example)
    return dict(K=K, lambda_1=lam[-1], lambda_K=lam[-K], lambda_K_plus_1=lam[-K - 1], lambda_min=lam[0], trace_H=lam.sum(),
                mu_1=mu[-1], mu_K=mu[-K], mu_K_plus_1=mu[-K - 1], trace_M=mu.sum(), gradient_norm_squared=g @ g,
                gradient_fraction_in_top_K=float(np.sum((top.T @ g) ** 2) / (g @ g)), trace_H_Sigma=float(hm - g @ H @ g),
                trace_H_M=float(hm), negative_energy_L1=float(-lam[lam < 0].sum() / np.abs(lam).sum()),
                principal_angles_H_M_degrees=sorted(angles.tolist()))


def run(name):
    c, t0 = CASES[name], time.time()
    p, d = make(**c)
    rng = lambda s: torch.tensor(np.random.default_rng(s).standard_normal(p.n).astype(np.float32).astype(np.float64))
    v, u = rng(0), rng(1)
    g, Hv, Gv, Mv = p.gradient(p.theta), p.hv(v), p.gv(v), p.mv(v)
    a = dict(x=d["raw"], y=p.y.numpy().astype(np.float64 if p.y.is_floating_point() else np.int64), v=v.numpy().astype(np.float32),
             logits=p.outputs(p.theta).numpy(), g=g.numpy(), Hv=Hv.numpy(), Gv=Gv.numpy(), Mv=Mv.numpy())
    if c.get("weights") in (None, "zero"):
        a["theta"] = p.theta.numpy()
    Hu = p.hv(u)
    checks = dict(symmetry=float(abs(u @ Hv - v @ Hu) / (u.norm() * Hv.norm())), Hv_against_double_backward=rel(p.hv_native(v), Hv))
    if c.get("smooth"):
        e = 1e-5 / float(v.norm())
        checks["Hv_against_finite_difference"] = rel((p.gradient(p.theta + e * v) - p.gradient(p.theta - e * v)) / (2 * e), Hv)
    facts = {}
    if p.batch < len(p.x) and not p.train:
        whole, _ = make(**{**c, "batch": None})
        checks["one_batch_against_ragged"] = dict(g=rel(whole.gradient(p.theta), g), Hv=rel(whole.hv(v), Hv))
    if c.get("sequence"):
        a["Mv_sequence"] = p.mv(v, c["sequence"]).numpy()
    if c.get("dense"):
        chunk = max(16, min(64, 2048 // p.N))
        H, facts["asymmetry"] = p.dense_h(chunk)
        t1 = time.time() - t0
        G, M, per_example = p.dense_g_and_m(chunk)
        checks |= dict(dense_H=rel(H @ v, Hv), dense_G=rel(G @ v, Gv), dense_M=rel(M @ v, Mv))
        system = {k: np.linalg.eigh(A.numpy()) for k, A in (("H", H), ("M", M))} if c.get("landscape") else {}
        for k, A in (("H", H), ("G", G), ("M", M)):
            a["eig_" + k] = (system[k][0] if k in system else np.linalg.eigvalsh(A.numpy()))[::-1].copy()
            facts["top_" + k], facts["bottom_" + k] = a["eig_" + k][:5].tolist(), a["eig_" + k][-5:].tolist()
        facts |= dict(trace_H=float(H.trace()), trace_G=float(G.trace()), trace_M=float(M.trace()), frobenius_H=float(H.norm()))
        if c.get("blocks"):
            i = 0
            for k, s in p.names:
                j = i + int(np.prod(s))
                a["eig_H_block." + k] = np.linalg.eigvalsh(H[i:j, i:j].numpy())[::-1].copy(); i = j
        if c.get("landscape"):
            facts["landscape"] = landscape(H.numpy(), system["H"], system["M"], per_example.numpy(), c["landscape"])
        print(f"  dense H {t1:.0f} s, chunk {chunk}", flush=True)
    if c.get("adam"):
        facts["adam"] = adam(p, c["adam"], a)
    if c.get("extreme"):
        k = c["extreme"]
        a["top_H"], r = p.extreme(p.hv, k, "LA")
        facts["top_H"], facts["top_H_residual"] = a["top_H"].tolist(), float(r.max())
        if name != "resnet20":
            a["bottom_H"], r = p.extreme(p.hv, k, "SA")
            facts["bottom_H"], facts["bottom_H_residual"] = a["bottom_H"].tolist(), float(r.max())
    entry = dict(network=c["network"], weights={None: "theta in the .npz", "zero": "all zero"}.get(c.get("weights"), c.get("weights")),
                 loss=p.kind, mode="train" if c.get("train") else "eval", batch=p.batch, inputs=len(p.x), N=p.N, weight_decay=p.wd,
                 data=d["data"], n=p.n, L=float(p.loss(p.theta)), gradient_norm=float(g.norm()), vHv=float(v @ Hv), vGv=float(v @ Gv), vMv=float(v @ Mv),
                 arrays=write(name, a), facts=facts, checks=checks)
    publish(name, entry, p)
    print(f"{name}: n {p.n}, L {entry['L']:.12g}, |g| {entry['gradient_norm']:.12g}, {time.time() - t0:.0f} s\n  {checks}\n  {facts}", flush=True)


def adam(p, file, a):
    """Extreme eigenvalues of D^1/2 H D^1/2, D = diag(1 / (sqrt(vhat) + eps)), from the optimizer's own state."""
    o = torch.load(os.path.join(HERE, "..", file), map_location="cpu", weights_only=True)["optimizer"]
    hyper = o["param_groups"][0]
    vhat = torch.cat([(o["state"][i]["exp_avg_sq"].double() / (1 - hyper["betas"][1] ** float(o["state"][i]["step"]))).flatten() for i in hyper["params"]])
    s = (vhat.sqrt() + hyper["eps"]).rsqrt()
    op = lambda v: s * p.hv(s * v)
    a["adam_top"], r1 = p.extreme(op, 5, "LA")
    a["adam_bottom"], r2 = p.extreme(op, 5, "SA")
    return dict(file=file, eps=hyper["eps"], beta2=hyper["betas"][1], step=float(o["state"][0]["step"]), top=a["adam_top"].tolist(), bottom=a["adam_bottom"].tolist(),
                residual=float(max(r1.max(), r2.max())))


def write(name, a):
    """Arrays to cases/NAME.npz, or NAME-1.npz, NAME-2.npz ... when one file would be too large; returns where each one is."""
    parts, size = [{}], 0
    for k, x in a.items():
        if size + x.nbytes > MAX_FILE and parts[-1]:
            parts.append({}); size = 0
        parts[-1][k] = x; size += x.nbytes
    where = {}
    for i, part in enumerate(parts):
        f = f"cases/{name}.npz" if len(parts) == 1 else f"cases/{name}-{i + 1}.npz"
        np.savez_compressed(os.path.join(HERE, f), **part)
        where |= {k: dict(file=f, dtype=str(x.dtype), shape=list(x.shape)) for k, x in part.items()}
    return where


def publish(name, entry, p=None):
    path = os.path.join(HERE, "cases.json")
    doc = json.load(open(path)) if os.path.exists(path) else dict(networks={}, cases={})
    doc["cases"][name] = entry
    if p is not None:
        offset, rows = 0, []
        for k, s in p.names:
            rows.append(dict(name=k, shape=list(s), offset=offset)); offset += int(np.prod(s))
        doc["networks"][entry["network"]] = dict(n=p.n, parameters=rows)
    order = [*CASES, "mlp-mnist-exact"]
    doc["cases"] = {k: doc["cases"][k] for k in order if k in doc["cases"]}
    json.dump(doc, open(path + ".new", "w"), indent=1)
    os.replace(path + ".new", path)


def mlp_exact():
    """All 15,910 eigenvalues of the paper's check network. A pixel that is zero in every image has exactly zero rows and columns,
    as has a hidden unit that never fires: those eigenvalues are zero and the rest is solved dense."""
    t0 = time.time()
    p, _ = make(**CASES["mlp-mnist"])
    W1, b1 = p.split(p.theta)["1.weight"], p.split(p.theta)["1.bias"]
    x = p.x.flatten(1)
    fires = (x @ W1.T + b1 > 0).any(0)
    seen = (x != 0).any(0)
    live = torch.cat([(fires[:, None] & seen).flatten(), fires, fires.expand(10, 20).flatten(), torch.ones(10, dtype=torch.bool)])
    idx, dead = live.nonzero().flatten(), (~live).nonzero().flatten()
    zero = max(float(h.abs().max()) for h in p.columns(p.hv, dead[:: max(1, len(dead) // 100)], 50)) if len(dead) else 0.0
    H = np.empty((len(idx), len(idx)))
    i = 0
    for h in p.columns(p.hv, idx, 100):
        H[i:i + len(h)] = h[:, idx].numpy(); i += len(h)
    print(f"  {len(idx)} of {p.n} live, dense H {time.time() - t0:.0f} s", flush=True)
    asym = max(float(np.abs(H[i:i + 500] - H[:, i:i + 500].T).max()) for i in range(0, len(H), 500))
    v = np.random.default_rng(0).standard_normal(p.n).astype(np.float32).astype(np.float64)
    full = p.hv(torch.tensor(v)).numpy()
    err = float(np.linalg.norm(H @ v[idx] - full[idx]) / np.linalg.norm(full))
    for i in range(0, len(H), 500):                          # symmetrise in place, a block row at a time
        m = (H[i:i + 500, i:] + H[i:, i:i + 500].T) / 2
        H[i:i + 500, i:], H[i:, i:i + 500] = m, m.T
    trace, fro = float(np.trace(H)), float(np.linalg.norm(H))
    lam = scipy.linalg.eigh(H, eigvals_only=True, overwrite_a=True, check_finite=False, driver="evd")
    lam = np.sort(np.concatenate([lam, np.zeros(len(dead))]))[::-1].copy()
    G1 = vmap(lambda d: vjp(p.losses, p.theta)[1](d)[0])(torch.eye(p.N)).numpy()
    mu = np.linalg.eigvalsh(G1 @ G1.T / p.N)[::-1].copy()
    facts = dict(live_parameters=len(idx), asymmetry=asym, trace_H=trace, frobenius_H=fro, top_H=lam[:10].tolist(), bottom_H=lam[-5:].tolist(), top_M=mu[:5].tolist(),
                 negative_energy_L1=float(-lam[lam < 0].sum() / np.abs(lam).sum()))
    checks = dict(dense_H=err, dead_columns_max_abs=zero, trace=float(abs(lam.sum() - trace) / abs(trace)), frobenius=float(abs(np.linalg.norm(lam) - fro) / fro))
    publish("mlp-mnist-exact", dict(network="mlp:784-20-10", weights=MLP, like="mlp-mnist", n=p.n, N=p.N, arrays=write("mlp-mnist-exact", dict(eig_H=lam, eig_M_nonzero=mu)),
                                    facts=facts, checks=checks))
    print(f"mlp-mnist-exact: {time.time() - t0:.0f} s\n  {checks}\n  {facts}", flush=True)


def main():
    os.makedirs(os.path.join(HERE, "cases"), exist_ok=True)
    for name in sys.argv[1:] or [*CASES, "mlp-mnist-exact"]:
        mlp_exact() if name == "mlp-mnist-exact" else run(name)


main()
