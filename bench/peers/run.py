"""Times Hessian-vector products of hessdens, PyTorch and JAX in turn on this machine, and prints the ratios.

    pip install torch jax numpy torchvision
    python run.py [--runs 5] [--only WORKLOAD] [--json FILE]

Needs MNIST and CIFAR-10 (binary version) as $HESSDENS_DATA/mnist and $HESSDENS_DATA/cifar-10-batches-bin (default ~/.cache/hessdens-data), the
text tinyshakespeare.txt there or as $HESSDENS_TEXT, and Go.
Every run starts each program once, one after the other, so that what else the machine does hits all alike; a program takes the best of several products
in a process, and the table has the median over the runs. Peers run at the chunk size that was best for them, each in its best mode: torch jvp of grad or double
backward, its vmap over 10; jax jvp of grad, vmap or linearize over 10. k = 10 is per vector, ten together."""
import argparse, json, os, statistics, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testdata", "reference", "scripts"))  # networks and readers
import data

MNIST, CIFAR = os.path.join(data.ROOT, "mnist"), os.path.join(data.ROOT, "cifar-10-batches-bin")
IMAGENET = ["--mean", ",".join(map(str, data.IMAGENET[0])), "--std", ",".join(map(str, data.IMAGENET[1]))]
# name: the peers' model, N, chunk; hessdens' flags; the goals for k = 10 and k = 1
WORKLOADS = {
    "MLP 784-20-10, MNIST 60,000": ("mlp:784-20-10", 60000, 2000, ["--model", "mlp:784-20-10", "--data", MNIST], 1.35, 2.0),
    "MLP 784-128-64-10, MNIST 60,000": ("mlp:784-128-64-10", 60000, 500, ["--model", "mlp:784-128-64-10", "--data", MNIST], 1.35, 1.8),
    "ResNet-20, CIFAR-10, 128 images": ("resnet20a", 128, 32, ["--model", "resnet20", "--data", CIFAR, "--examples", "128"] + IMAGENET, 2.3, 1.7),
    "GPT 4 layers, d=128, ctx=128, 64 sequences": ("gpt:4,4,128,128", 64, 4, ["--model", "gpt2:layers=4,heads=4,width=128,context=128,vocab=65", "--data", data.TEXT, "--vocab", "chars", "--examples", "64"], 1.8, 2.2),
}


def lines(command, **more):
    out = subprocess.run(command, capture_output=True, text=True, **more)
    if out.returncode:
        sys.exit(f"{' '.join(command)}:\n{out.stderr[-2000:]}")
    return out.stdout


def best(records, modes):
    got = [r["per_probe"] for r in records if r.get("what") in modes and "per_probe" in r]
    return min(got) if got else float("nan")


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--runs", type=int, default=5)
    args.add_argument("--only", help="workloads whose name has this")
    args.add_argument("--peers", default="torch,jax")
    args.add_argument("--json", help="write all figures to a file")
    a = args.parse_args()
    exe = os.path.join(tempfile.mkdtemp(), "hessdens")
    lines(["go", "build", "-o", exe, "./cmd/hessdens"], cwd=os.path.join(HERE, "..", ".."))
    figures, machine = {}, None
    for name, (model, n, chunk, flags, goal10, goal1) in WORKLOADS.items():
        if a.only and a.only not in name:
            continue
        t = figures[name] = {}
        for _ in range(a.runs):
            b = json.loads(lines([exe, "bench", "--format", "json", "--runs", "5"] + flags))
            machine = b["machine"]
            for p in b["products"]:
                t.setdefault(f"hessdens {p['probes']}", []).append(p["seconds_per_probe"])
                t.setdefault(f"share {p['probes']}", []).append(p["share_of_peak"])
            for peer in a.peers.split(","):
                modes = {"torch": "double,jvp,vmap10", "jax": "jvp,vmap10,linearize10"}[peer]
                out = lines([sys.executable, f"bench_{peer}.py", model, str(n), str(chunk), modes], cwd=HERE)
                records = [json.loads(l) for l in out.splitlines() if l.startswith("{")]
                t.setdefault(f"{peer} 1", []).append(best(records, ["double", "jvp"]))
                t.setdefault(f"{peer} 10", []).append(best(records, ["vmap10", "linearize10"]))
        print(f"{name}: done", file=sys.stderr)
    median = {w: {k: statistics.median(v) for k, v in t.items()} for w, t in figures.items()}
    print(f"{machine['cpu']}, {machine['threads']} threads, kernels {machine['kernel_path']}, peak {machine['peak_gflops_f32']:.0f} GFLOP/s; seconds a vector, medians of {a.runs} runs\n")
    print("| workload | k | hessdens | of peak | " + " | ".join(a.peers.split(",")) + " | ratio to the best peer | goal |\n|---|---|---|---|" + "---|" * (2 + len(a.peers.split(","))))
    for w, m in median.items():
        for k, goal in ((10, WORKLOADS[w][4]), (1, WORKLOADS[w][5])):
            peers = [m[f"{p} {k}"] for p in a.peers.split(",")]
            ours = m[f"hessdens {k}"]
            print(f"| {w} | {k} | {ours:.4g} | {100 * m[f'share {k}']:.0f} % | " + " | ".join(f"{p:.4g}" for p in peers) + f" | {min(peers) / ours:.2f} | {goal} |")
    if a.json:
        with open(a.json, "w") as f:
            json.dump({"machine": machine, "figures": figures}, f, indent=1)


main()
