"""References for networks on images, which vision_test.go holds this package's against: python make_vision.py

Writes, beside this file,
  huggingface/vit*, huggingface/resnet*   what transformers' save_pretrained writes, of tiny networks,
  vision.json.gz        of each network: loss, gradient and Hessian-vector product by float64 autograd of the library's own
                        class, as inner products with fixed vectors, a pair for each parameter tensor, and norms,
  statedicts.json.gz    names and shapes of the state_dicts of torchvision's and timm's networks.
Values of weights, images and vectors are a function of a name and an index (see uniform), so that those of large networks need
not be kept. Made with torch 2.15.0, torchvision 0.29.2, timm 1.0.31, transformers 5.24.0, safetensors."""
import gzip, json, math, os, re, shutil
import numpy as np, torch, torchvision, timm, transformers
from safetensors.numpy import load_file
from timm.models.vision_transformer import VisionTransformer
from torch.nn.attention import SDPBackend, sdpa_kernel

HERE = os.path.dirname(os.path.abspath(__file__))
timm.layers.set_fused_attn(False)


def uniform(name, n):
    """n numbers in [-1, 1): SplitMix64 from the FNV-1a hash of the name."""
    h = 0xCBF29CE484222325
    for c in name.encode():
        h = (h ^ c) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(h) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
        z = z ^ z >> np.uint64(31)
    return 2 * (z >> np.uint64(11)).astype(np.float64) * 2.0**-53 - 1


def weights(name, shape):
    """Of the scale of He's for weights; normalisations are near, not at, those that change nothing."""
    u = uniform(name, math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        return u * math.sqrt(6 / math.prod(shape[1:]))
    if name.endswith("running_var"):
        return 1 + 0.5 * u
    if name.endswith("weight") or name.endswith("gamma"):
        return 0.5 + 0.25 * u
    return 0.1 * u


def fill(model):
    state = model.state_dict()
    for name, t in state.items():
        if t.dtype.is_floating_point:
            t.copy_(torch.from_numpy(np.asarray(weights(name, list(t.shape)))))


def reference(model, outputs, shape, n, renamed=lambda name: name, train=False):
    """Loss, and of each tensor of the state_dict name, shape and, where it is a parameter, g·r, Hv·r, |g|, |Hv|."""
    model = model.double().train(train)
    classes = outputs(model, torch.zeros(2, *shape, dtype=torch.float64)).shape[1]
    model_state = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.from_numpy(uniform("x", n * math.prod(shape)).reshape(n, *shape))
    y = torch.tensor([(7 * i + 3) % classes for i in range(n)])
    params = dict(model.named_parameters())
    with sdpa_kernel(SDPBackend.MATH):
        loss = torch.nn.functional.cross_entropy(outputs(model, x), y)
        g = torch.autograd.grad(loss, params.values(), create_graph=True)
    v = [torch.from_numpy(uniform(renamed(k) + "/v", p.numel()).reshape(p.shape)) for k, p in params.items()]
    hv = torch.autograd.grad(sum((a * b).sum() for a, b in zip(g, v)), params.values())
    found = {}
    g = [t.detach() for t in g]
    for (k, p), a, b in zip(params.items(), g, hv):
        r = torch.from_numpy(uniform(renamed(k) + "/r", p.numel()).reshape(p.shape))
        found[k] = [float((a * r).sum()), float((b * r).sum()), float(a.norm()), float(b.norm())]
    norm = lambda ts: math.sqrt(sum(float(t.norm()) ** 2 for t in ts))
    return {"shape": list(shape), "n": n, "classes": classes, "batch_stats": train, "loss": float(loss.detach()), "gradient": norm(g), "product": norm(hv),
            "tensors": [[renamed(k), list(t.shape), found.get(k)] for k, t in model_state.items() if t.dtype.is_floating_point]}


call = lambda model, x: model(x)
cases = []


def case(model, shape, n=3, train=False, **known):
    fill(model.double())
    cases.append(known | reference(model, call, shape, n, train=train))
    print(known, cases[-1]["loss"], cases[-1]["gradient"], cases[-1]["product"], flush=True)


tv = torchvision.models
case(tv.resnet18(num_classes=10), [3, 70, 53], 2, spec="resnet18:classes=10")
case(tv.resnet50(num_classes=12), [3, 64, 48], 2, spec="resnet50:classes=12")
case(tv.resnext50_32x4d(num_classes=5), [3, 40, 40], 2, spec="resnext50_32x4d:classes=5")
small = tv.resnet18(num_classes=10)
small.conv1, small.maxpool = torch.nn.Conv2d(1, 64, 3, 1, 1, bias=False), torch.nn.Identity()
case(small, [1, 12, 12], 2, spec="resnet18:stem=3,channels=1,classes=10")


def vgg(layers, hidden, bn):
    m = tv.VGG(tv.vgg.make_layers([l if l == "M" else int(l) for l in layers.split("-")], batch_norm=bn), num_classes=5)
    width = [int(l) for l in layers.split("-") if l != "M"][-1]
    m.classifier[0] = torch.nn.Linear(width * 49, hidden)
    m.classifier[3], m.classifier[6] = torch.nn.Linear(hidden, hidden), torch.nn.Linear(hidden, 5)
    return m


for shape in ([3, 28, 28], [3, 32, 41], [3, 9, 13]):
    case(vgg("8-M-6-10-M", 24, False), shape, spec="vgg:8-M-6-10-M,hidden=24,classes=5")
case(vgg("8-8-M-6-M", 24, True), [3, 20, 33], spec="vgg:8-8-M-6-M,bn=true,hidden=24,classes=5")

vit = dict(img_size=16, patch_size=4, embed_dim=32, depth=2, num_heads=4, num_classes=7)
spec = "vit:patch=4,width=32,layers=2,heads=4,size=16,classes=7"
case(VisionTransformer(**vit), [3, 16, 16], spec=spec)
case(VisionTransformer(**vit | dict(in_chans=1, mlp_ratio=2.5)), [1, 16, 16], spec=spec + ",channels=1,mlp=80")
case(VisionTransformer(**vit, qkv_bias=False, init_values=0.1), [3, 16, 16], spec=spec + ",qkv_bias=false,layer_scale=true")
case(VisionTransformer(**vit, class_token=False, global_pool="avg"), [3, 16, 16], spec=spec + ",class_token=false")
case(VisionTransformer(**vit, class_token=False, global_pool="avg", fc_norm=False), [3, 16, 16], spec=spec + ",class_token=false,pool=norm-avg")
case(VisionTransformer(**vit, global_pool="avg"), [3, 16, 16], spec=spec + ",pool=avg")
case(VisionTransformer(**vit, reg_tokens=3), [3, 16, 16], spec=spec + ",reg_tokens=3")
case(VisionTransformer(**vit, reg_tokens=2, no_embed_class=True), [3, 16, 16], spec=spec + ",reg_tokens=2,no_embed_class=true")
case(tv.VisionTransformer(image_size=16, patch_size=4, num_layers=2, num_heads=4, hidden_dim=32, mlp_dim=48, num_classes=7), [3, 16, 16], spec=spec + ",mlp=48")


def directory(name, model, shape, n=3, train=False, renames=()):
    """Saves as float32; the reference is of what was saved, under the names in the file."""
    path = os.path.join(HERE, "huggingface", name)
    shutil.rmtree(path, ignore_errors=True)
    fill(model)
    model.save_pretrained(path)

    def renamed(k):
        for a, b in renames:
            k = re.sub(a, b, k)
        return k

    saved = load_file(os.path.join(path, "model.safetensors"))
    for k, t in model.state_dict().items():
        assert np.array_equal(saved[renamed(k)], t.numpy()), k
    cases.append({"directory": name} | reference(model, lambda m, x: m(pixel_values=x).logits, shape, n, renamed, train))
    print(name, cases[-1]["loss"], cases[-1]["gradient"], cases[-1]["product"], flush=True)


hf = [(r"\.layers\.(\d+)", r".encoder.layer.\1"), (r"attention\.([qkv])_proj", lambda m: "attention.attention." + {"q": "query", "k": "key", "v": "value"}[m[1]]),
      (r"attention\.o_proj", "attention.output.dense"), (r"mlp\.fc1", "intermediate.dense"), (r"mlp\.fc2", "output.dense")]
tiny = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=40, image_size=16, patch_size=4)
make = lambda **c: transformers.ViTForImageClassification(transformers.ViTConfig(attn_implementation="sdpa", **c))
directory("vit", make(**tiny, num_labels=5), [3, 16, 16], renames=hf)
directory("vit-other", make(**tiny | dict(image_size=[13, 18], num_hidden_layers=1), num_labels=2, num_channels=1, qkv_bias=False, hidden_act="quick_gelu", layer_norm_eps=1e-3),
          [1, 13, 18], renames=hf)
make = lambda **c: transformers.ResNetForImageClassification(transformers.ResNetConfig(**c))
directory("resnet-basic", make(embedding_size=6, hidden_sizes=[6, 10, 12], depths=[1, 2, 1], layer_type="basic", num_labels=5), [3, 33, 40])
directory("resnet-bottleneck", make(embedding_size=8, hidden_sizes=[12, 20], depths=[2, 2], num_labels=5, downsample_in_first_stage=True), [3, 32, 32], train=True)
directory("resnet-early", make(embedding_size=8, hidden_sizes=[12, 20], depths=[2, 2], num_labels=5, num_channels=1, downsample_in_bottleneck=True, hidden_act="silu"), [1, 31, 29])

with gzip.GzipFile(os.path.join(HERE, "vision.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps(cases).encode())

dicts = {}
with torch.device("meta"):
    kinds = ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"]
    kinds += ["vgg%d%s" % (d, bn) for d in (11, 13, 16, 19) for bn in ("", "_bn")]
    for k in kinds + ["vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"]:
        dicts["torchvision " + k] = getattr(tv, k)()
    for k in ["vit_tiny_patch16_224", "vit_small_patch32_384", "vit_base_patch16_224", "vit_base_patch8_224", "vit_large_patch14_224", "vit_huge_patch14_224", "deit3_small_patch16_224",
              "deit_base_patch16_224", "deit_tiny_distilled_patch16_224", "vit_base_patch16_224_miil", "vit_medium_patch16_gap_256", "resnet50"]:
        dicts["timm " + k] = timm.create_model(k, num_classes=1000)
out = {}
for k, m in dicts.items():
    params = {n for n, _ in m.named_parameters()}
    order = [n for n in m.state_dict() if n in params]
    assert order == [n for n, _ in m.named_parameters()], k
    out[k] = {"size": sum(p.numel() for p in m.parameters()), "params": len(params), "tensors": [[n, list(t.shape)] for n, t in m.state_dict().items()]}
with gzip.GzipFile(os.path.join(HERE, "statedicts.json.gz"), "wb", mtime=0) as f:
    f.write(json.dumps(out).encode())
