"""Train the reference networks and save their checkpoints: python train.py [mlp lenet5 smallcnn-bn smallcnn-nobn gpt]

Everything is seeded; float32 training is repeatable on one build of PyTorch, not to the bit across builds, so the files in
../checkpoints/ are the reference and this script says how they came about. Writes ../checkpoints/ and its index.json."""
import json, os, sys
import numpy as np, torch, torch.nn.functional as F
from safetensors.torch import save_file

import data
from torch_models import build

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "checkpoints")
INDEX = os.path.join(OUT, "index.json")
NETWORK = {"mlp": "mlp:784-20-10", "lenet5": "lenet5", "smallcnn-bn": "smallcnn", "smallcnn-nobn": "smallcnn-nobn", "gpt": "gpt:2,4,64,64"}


def note(file, **facts):
    """One line in index.json for one file."""
    index = json.load(open(INDEX)) if os.path.exists(INDEX) else {}
    index[file] = dict(facts, bytes=os.path.getsize(os.path.join(OUT, file)))
    json.dump(dict(sorted(index.items())), open(INDEX, "w"), indent=1)


def sizes(name, net):
    return dict(network=NETWORK[name], parameters=sum(p.numel() for p in net.parameters()))


def save(name, tag, net, facts, every_format=False):
    sd = {k: v.detach().clone().contiguous() for k, v in net.state_dict().items()}
    facts = dict(sizes(name, net), **facts)
    f = f"{name}-{tag}.safetensors"
    save_file(sd, os.path.join(OUT, f), metadata={k: str(v) for k, v in facts.items()})
    note(f, format="safetensors", dtype="float32", **facts)
    if every_format:
        torch.save(sd, os.path.join(OUT, f := f"{name}-{tag}.pt"))
        note(f, format="torch.save zip, state_dict", dtype="float32", **facts)
        torch.save(sd, os.path.join(OUT, f := f"{name}-{tag}.legacy.pt"), _use_new_zipfile_serialization=False)
        note(f, format="torch.save legacy, state_dict", dtype="float32", **facts)
    print(name, tag, facts, flush=True)
    return sd, facts


def save_training(name, file, net, opt, epoch, facts):
    """The usual dict of a training script: parameters, optimizer state, epoch."""
    torch.save({"model": net.state_dict(), "optimizer": opt.state_dict(), "epoch": epoch}, os.path.join(OUT, file))
    note(file, format="torch.save zip, {'model', 'optimizer', 'epoch'}", dtype="float32", optimizer=type(opt).__name__, **sizes(name, net), **facts)


@torch.no_grad()
def measure(net, x, y):
    """Mean loss and accuracy on (x, y), BatchNorm in evaluation mode; the net's mode is restored."""
    mode = net.training
    net.eval()
    loss = hit = 0
    for xb, yb in zip(x.split(1000), y.split(1000)):
        out = net(xb)
        loss += F.cross_entropy(out, yb, reduction="sum").item(); hit += (out.argmax(1) == yb).sum().item()
    net.train(mode)
    return dict(loss=round(loss / len(y), 6), accuracy=round(hit / len(y), 4))


def images(folder, n):
    x, y = data.idx(folder, "train", n)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def classify(name, x, y, make_opt, epochs, batch, at_steps, drop_at=None, epoch_tags=False):
    """SGD-like training with reshuffled mini-batches; saves at the given steps; returns net and optimizer."""
    torch.manual_seed(0)
    net = build(NETWORK[name]).train()
    opt = make_opt(net.parameters())
    per_epoch = (len(y) + batch - 1) // batch
    order, step = torch.Generator().manual_seed(1), 0
    tag = lambda s: f"epoch{s // per_epoch:03d}" if epoch_tags else f"step{s:05d}"
    facts = lambda s: dict(step=s, epoch=round(s / per_epoch, 3), learning_rate=opt.param_groups[0]["lr"], **measure(net, x, y))
    for epoch in range(epochs):
        for ix in torch.randperm(len(y), generator=order).split(batch):
            if step in at_steps:
                save(name, tag(step), net, facts(step))
            if drop_at and step == drop_at:
                for g in opt.param_groups:
                    g["lr"] *= 0.1
            opt.zero_grad()
            F.cross_entropy(net(x[ix]), y[ix]).backward()
            opt.step()
            step += 1
    return net, opt, facts(step)


def train_mlp():
    """The paper's check network: 15,910 parameters, the first 1,000 MNIST training images."""
    x, y = images("mnist", 1000)
    net, _, facts = classify("mlp", x, y, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), 60, 50, {0, 3 * 20, 10 * 20}, epoch_tags=True)
    sd, facts = save("mlp", "final", net, facts, every_format=True)
    np.savez(os.path.join(OUT, "mlp-final.npz"), **{k: v.numpy() for k, v in sd.items()})
    note("mlp-final.npz", format="npz", dtype="float32", **facts)


def train_lenet5():
    x, y = images("mnist", 60000)
    net, opt, facts = classify("lenet5", x, y, lambda p: torch.optim.Adam(p, lr=1e-3), 2, 128, {0})
    sd, full = save("lenet5", "final", net, facts, every_format=True)
    save_training("lenet5", "lenet5-adam.pt", net, opt, 2, facts)
    for dtype, short in ((torch.bfloat16, "bf16"), (torch.float16, "f16")):
        f = f"lenet5-final-{short}.safetensors"
        save_file({k: v.to(dtype) for k, v in sd.items()}, os.path.join(OUT, f))
        note(f, format="safetensors", dtype=short, rounded_from="lenet5-final.safetensors", **full)


def train_smallcnn(name):
    """The batch-norm comparison as a series: same data, order, schedule and seed with and without BatchNorm."""
    x, y = images("fashion-mnist", 60000)
    net, opt, facts = classify(name, x, y, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9), 4, 128, {0, 100, 300, 1000, 1400}, drop_at=1400)
    save(name, "final", net, facts, every_format=True)
    if name == "smallcnn-nobn":
        save_training(name, "smallcnn-nobn-sgd.pt", net, opt, 4, facts)


def train_gpt(steps=600, batch=32):
    ids, targets = (torch.tensor(a) for a in data.text(16000, 64))
    torch.manual_seed(0)
    net = build(NETWORK["gpt"])
    opt = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
    order = torch.Generator().manual_seed(1)
    def loss(i):
        return F.cross_entropy(net(ids[i]).flatten(0, 1), targets[i].flatten())
    def facts(s):
        with torch.no_grad():
            return dict(step=s, loss_first_256_sequences=round(loss(slice(0, 256)).item(), 6))
    for s in range(steps):
        if s == 0:
            save("gpt", "init", net, facts(0))
        for g in opt.param_groups:
            g["lr"] = 3e-3 * min(1, (s + 1) / 50) * (0.05 + 0.95 * 0.5 * (1 + np.cos(np.pi * s / steps)))
        opt.zero_grad(); loss(torch.randint(len(ids), (batch,), generator=order)).backward(); opt.step()
    save("gpt", "final", net, facts(steps), every_format=True)


def main():
    os.makedirs(OUT, exist_ok=True)
    todo = {"mlp": train_mlp, "lenet5": train_lenet5, "smallcnn-bn": lambda: train_smallcnn("smallcnn-bn"),
            "smallcnn-nobn": lambda: train_smallcnn("smallcnn-nobn"), "gpt": train_gpt}
    for name in sys.argv[1:] or todo:
        todo[name]()


main()
