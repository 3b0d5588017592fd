"""Measures hessdens beside PyTorch and JAX, in turn on this machine, and prints tables with the goals.

    pip install torch torchvision jax numpy scipy
    python run.py [PART ...] [--runs 5] [--only WORKLOAD] [--json FILE]

    check       loss, v'Hv and |Hv| of one probe v, by every program with the same weights and data: that they compute the same
    products    seconds for a Hessian-vector product, alone and ten together, and hessdens' allocations in it (the default)
    precision   hessdens in float64 over float32
    threads     hessdens on one thread over two
    estimate    the whole estimate of an MLP, k = 10, m = 90, beside slq_jax.py: processes from start to end, import and compilation included
    start       `hessdens estimate --probes 1 --steps 1` on the embedded example, from start to end: the way to the first product, and the result
    memory      the most memory of a process that computes ten products of ResNet-20 at once: hessdens as it comes, torch with batches of 64

Needs MNIST and CIFAR-10 (binary version) as $HESSDENS_DATA/mnist and $HESSDENS_DATA/cifar-10-batches-bin (default ~/.cache/hessdens-data), the
text tinyshakespeare.txt there or as $HESSDENS_TEXT, and Go.
Every run starts each program once, one after the other, so that what else the machine does hits all alike; a program takes the best of several products
in a process, and the table has the median over the runs. Peers run in their best mode (torch jvp of grad or double backward, its vmap over 10; jax jvp of
grad, vmap or linearize over 10) and at their best chunk size: where a workload lists several, the first run tries all, for each peer and k, and the others
keep the best. k = 10 is per vector, ten together."""
import argparse, json, math, os, statistics, subprocess, sys, tempfile, time
from typing import NamedTuple
import numpy as np
import subject, data  # subject says where data is

HERE = os.path.dirname(os.path.abspath(__file__))
MNIST, CIFAR = os.path.join(data.ROOT, "mnist"), os.path.join(data.ROOT, "cifar-10-batches-bin")
IMAGENET = ["--mean", ",".join(map(str, data.IMAGENET[0])), "--std", ",".join(map(str, data.IMAGENET[1]))]
TMP = tempfile.mkdtemp()
HESSDENS = os.path.join(TMP, "hessdens")
NOISE = os.path.join(TMP, "x.npy"), os.path.join(TMP, "y.npy")
MODES = {"torch": {1: ["double", "jvp"], 10: ["vmap10"]}, "jax": {1: ["jvp"], 10: ["vmap10", "linearize10"]}}


class Workload(NamedTuple):
    model: str          # the peers' name, see subject.py
    examples: int
    chunks: list        # chunk sizes to try; with :batch there is one, part of what is computed
    flags: list         # what it is for hessdens
    goals: dict         # by k: how many times as fast as the best peer; none set: None

    def hessdens(self, weights):
        return self.flags + ["--weights", weights, "--examples", str(self.examples)]


RESNET20 = ["--model", "resnet20", "--data", CIFAR] + IMAGENET
GPT = ["--model", "gpt2:layers=4,heads=4,width=128,context=128,vocab=65", "--data", data.TEXT, "--vocab", "chars"]
WORKLOADS = {
    "MLP 784-20-10, MNIST 60,000": Workload("mlp:784-20-10", 60000, [2000], ["--model", "mlp:784-20-10", "--data", MNIST], {10: 1.35, 1: 2.0}),
    "MLP 784-128-64-10, MNIST 60,000": Workload("mlp:784-128-64-10", 60000, [500], ["--model", "mlp:784-128-64-10", "--data", MNIST], {10: 1.35, 1: 1.8}),
    "LeNet-5, MNIST 2,000": Workload("lenet5", 2000, [50, 100, 500], ["--model", "lenet5", "--data", MNIST], {10: None, 1: None}),
    "ResNet-20, CIFAR-10, 128 images": Workload("resnet20a", 128, [32], RESNET20, {10: 2.3, 1: 1.7}),
    "ResNet-20, statistics of batches of 32": Workload("resnet20a:batch", 128, [32], RESNET20 + ["--batchnorm", "batch", "--batch-size", "32"], {10: None, 1: None}),
    "ResNet-18, 32 images of 64x64": Workload("resnet18", 32, [4, 8, 32], ["--model", "resnet18:classes=10", "--data", ",".join(NOISE)], {10: None, 1: None}),
    "GPT 4 layers, d=128, ctx=128, 64 sequences": Workload("gpt:4,4,128,128", 64, [4], GPT, {10: 1.8, 1: 2.2}),
}


class Usage(NamedTuple):
    out: str
    seconds: float
    megabytes: float    # the most memory that the process had


def start(command):
    """Runs a program to its end."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        at = time.time()
        p = subprocess.Popen(command, stdout=out, stderr=err, cwd=HERE)
        _, status, usage = os.wait4(p.pid, 0)
        seconds = time.time() - at
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if p.returncode:
            sys.exit(f"{' '.join(command)}:\n{err.read()[-2000:]}")
        return Usage(out.read(), seconds, usage.ru_maxrss / 1024)


def weights(model):
    file = os.path.join(TMP, subject.split(model)[0] + ".npz")
    if not os.path.exists(file):
        subject.write_weights(model, file)
    return file


def hessdens(*args):
    return json.loads(start([HESSDENS, *args, "--format", "json"]).out)


def bench(w, *args):
    """What hessdens bench says: the machine, and its products by k."""
    b = hessdens("bench", *w.hessdens(weights(w.model)), *args)
    return b["machine"], {p["probes"]: p for p in b["products"]}


def peer(name, w, chunk, modes):
    """The records of a peer's script."""
    out = start([sys.executable, f"bench_{name}.py", w.model, str(w.examples), str(chunk), weights(w.model), ",".join(modes)]).out
    return [json.loads(l) for l in out.splitlines() if l.startswith("{")]


def table(title, head, rows):
    print(f"\n{title}\n\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for r in rows:
        print("| " + " | ".join(f"{c:.4g}" if isinstance(c, float) else "" if c is None else str(c) for c in r) + " |")


def check(a, chosen):
    """Every program's loss, v'Hv and |Hv|; those of hessdens from one Lanczos step, where they are the loss, alpha and sqrt(alpha^2 + beta^2)."""
    tol = 1e-3          # of |Hv|, and of the loss: float32, and batch statistics amplify its rounding
    rows, figures, bad = [], {}, []
    for name, w in chosen.items():
        r = hessdens("estimate", *w.hessdens(weights(w.model)), "--probes", "1", "--steps", "1")
        p = r["probes"][0]
        alpha = p["nodes"][0]
        got = figures[name] = {"hessdens": (r["risk"]["loss"], alpha, math.hypot(alpha, p["beta_last"]))}
        for q in a.peers:
            [c] = peer(q, w, w.chunks[0], ["check"])
            got[q] = c["loss"], c["vhv"], c["norm"]
        loss, _, norm = got["hessdens"]
        for q, values in got.items():
            same = all(abs(x - y) <= tol * s for x, y, s in zip(values, got["hessdens"], (loss, norm, norm)))
            rows.append((name, q, *(f"{x:.7g}" for x in values), "yes" if same else "NO"))
            if not same:
                bad.append(f"{name}, {q}")
        print(f"{name}: checked", file=sys.stderr)
    table("The same weights, data and probe", ["workload", "program", "loss", "v'Hv", "\\|Hv\\|", f"within {tol:g}"], rows)
    if bad:
        sys.exit("they do not compute the same: " + "; ".join(bad))
    return figures


def products(a, chosen):
    figures, rows, best = {}, [], {}
    for name, w in chosen.items():
        t = figures[name] = {}
        for run in range(a.runs):
            a.machine, ours = bench(w, "--runs", "5")
            for k, p in ours.items():
                for field in ("seconds_per_probe", "share_of_peak", "allocations"):
                    t.setdefault(f"hessdens {k} {field}", []).append(p[field])
            for q in a.peers:
                for chunk in w.chunks:
                    modes = {k: m for k, m in MODES[q].items() if best.get((name, q, k), chunk) == chunk}
                    records = peer(q, w, chunk, sum(modes.values(), [])) if modes else []
                    for k, m in modes.items():
                        seconds = [r["per_probe"] for r in records if r["what"] in m and "per_probe" in r]
                        t.setdefault(f"{q} {k} chunk {chunk}", []).append(min(seconds, default=math.inf))
                if run == 0:
                    for k in MODES[q]:
                        best[name, q, k] = min(w.chunks, key=lambda c: t[f"{q} {k} chunk {c}"][0])
        print(f"{name}: done", file=sys.stderr)
        for k in (10, 1):
            ours = {f: statistics.median(t[f"hessdens {k} {f}"]) for f in ("seconds_per_probe", "share_of_peak", "allocations")}
            peers = [(statistics.median(t[f"{q} {k} chunk {best[name, q, k]}"]), best[name, q, k]) for q in a.peers]
            ratio = min(peers)[0] / ours["seconds_per_probe"] if peers else None
            rows.append((name, k, ours["seconds_per_probe"], f"{100 * ours['share_of_peak']:.0f} %", ours["allocations"], *(f"{s:.4g} ({c})" for s, c in peers), ratio, w.goals[k]))
    m = a.machine
    table(f"{m['cpu']}, {m['threads']} threads, kernels {m['kernel_path']}, peak {m['peak_gflops_f32']:.0f} GFLOP/s; seconds a vector, medians of {a.runs} runs; peers (chunk)",
          ["workload", "k", "hessdens", "of peak", "allocations", *a.peers, "ratio to the best peer", "goal"], rows)
    return figures


def ratios(a, chosen, flag, first, second, goal, title):
    """Seconds a vector with one value of a flag over those with another."""
    figures, rows = {}, []
    for name, w in chosen.items():
        t = figures[name] = {}
        for _ in range(a.runs):
            for value in (first, second):
                for k, p in bench(w, "--runs", "3", flag, value)[1].items():
                    t.setdefault(f"{value} {k}", []).append(p["seconds_per_probe"])
        for k in (10, 1):
            x, y = (statistics.median(t[f"{value} {k}"]) for value in (first, second))
            rows.append((name, k, x, y, x / y, goal))
        print(f"{name}: done", file=sys.stderr)
    table(title, ["workload", "k", first, second, "ratio", "goal"], rows)
    return figures


def precision(a, chosen):
    return ratios(a, chosen, "--precision", "float64", "float32", "at most 2.3", "hessdens in two precisions: seconds a vector")


def threads(a, chosen):
    return ratios(a, chosen, "--threads", "1", "2", "at least 1.9", "hessdens on one thread and on two: seconds a vector")


def estimate(a, _):
    figures, rows, w = {}, [], next(iter(WORKLOADS.values()))
    file = weights(w.model)
    for n, chunk, goal in ((60000, 2000, 0.65), (1000, 1000, 0.3)):
        t = figures[str(n)] = {"hessdens": [], "jax": []}
        result = os.path.join(TMP, "estimate.json")
        for _ in range(a.runs):
            t["hessdens"].append(start([HESSDENS, "estimate", *w._replace(examples=n).hessdens(file), "-o", result]).seconds)
            jax = start([sys.executable, "slq_jax.py", w.model, str(n), str(chunk), file])
            t["jax"].append(jax.seconds)
        with open(result) as f:
            t["lambda_max"] = json.load(f)["summary"]["lambda_max"], float(jax.out.split("lambda_max ")[1].split()[0])
        if not math.isclose(*t["lambda_max"], rel_tol=1e-4):
            sys.exit(f"the largest eigenvalues differ: {t['lambda_max']}")
        ours, theirs = statistics.median(t["hessdens"]), statistics.median(t["jax"])
        rows.append((f"first {n:,} images", ours, theirs, ours / theirs, f"at most {goal}"))
        print(f"estimate, {n} images: done", file=sys.stderr)
    table(f"The whole estimate, {w.model}, k = 10, m = 90: seconds of the process", ["MNIST", "hessdens", "jax", "ratio", "goal"], rows)
    return figures


def first_product(a, _):
    t = [start([HESSDENS, "estimate", "--probes", "1", "--steps", "1", "--format", "json"]).seconds for _ in range(max(a.runs, 5))]
    table("Start to first product, embedded example: seconds of the process", ["median", "best", "goal"], [(statistics.median(t), min(t), "below 0.2")])
    return t


def memory(a, _):
    w = WORKLOADS["ResNet-20, CIFAR-10, 128 images"]
    ours = start([HESSDENS, "estimate", *w.hessdens(weights(w.model)), "--probes", "10", "--steps", "1", "--format", "json"]).megabytes
    theirs = start([sys.executable, "bench_torch.py", w.model, str(w.examples), "64", weights(w.model), "vmap10"]).megabytes
    table("Ten products of ResNet-20 at once, 128 images: MiB of the process at most", ["hessdens", "torch, batches of 64", "ratio", "goal"], [(ours, theirs, ours / theirs, "at most 0.33")])
    return {"hessdens": ours, "torch": theirs}


PARTS = {"check": check, "products": products, "precision": precision, "threads": threads, "estimate": estimate, "start": first_product, "memory": memory}


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("parts", nargs="*", metavar="PART", help="of " + ", ".join(PARTS))
    args.add_argument("--runs", type=int, default=5)
    args.add_argument("--only", default="", help="workloads whose name has this")
    args.add_argument("--peers", default="torch,jax", type=lambda s: s.split(","))
    args.add_argument("--json", help="write all figures to a file")
    a = args.parse_args()
    for part in a.parts:
        if part not in PARTS:
            args.error(f"no part {part} (there are {', '.join(PARTS)})")
    chosen = {name: w for name, w in WORKLOADS.items() if a.only in name}
    subprocess.run(["go", "build", "-o", HESSDENS, "./cmd/hessdens"], cwd=os.path.join(HERE, "..", ".."), check=True)
    for file, values in zip(NOISE, subject.noise(WORKLOADS["ResNet-18, 32 images of 64x64"].examples)):
        np.save(file, values)
    a.machine = None
    figures = {part: PARTS[part](a, chosen) for part in a.parts or ["products"]}
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"machine": a.machine, "figures": figures}, f, indent=1)


main()
