"""Networks with their losses in the graph, and sequence classifiers, as PyTorch exports them: python losses.py

Writes loss/*.onnx and loss/expected.json: of each the data, the loss and the Hessian's product with a vector that loss_test.go makes too, by
PyTorch's autograd in float64. Made with PyTorch 2.15.0, onnx 1.23.2, onnxscript 0.7.2, transformers 5.24.0."""
import contextlib, io, json, math, os, warnings
import onnx, torch, torch.nn.functional as F, transformers

warnings.filterwarnings("ignore")
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "loss")
N = 5
expected = {}


class WithLoss(torch.nn.Module):
    def __init__(self, net, loss):
        super().__init__()
        self.net, self.loss = net, loss

    def forward(self, x, y):
        return self.loss(self.net(x), y)


class Language(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding, self.fc, self.head = torch.nn.Embedding(11, 4), torch.nn.Linear(4, 6), torch.nn.Linear(6, 11)

    def forward(self, ids):
        return self.head(torch.tanh(self.fc(self.embedding(ids).cumsum(1))))


class Bert(torch.nn.Module):
    """One output a sequence, of ids and an attention mask."""

    def __init__(self):
        super().__init__()
        config = transformers.BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
                                         max_position_embeddings=10, type_vocab_size=2, num_labels=3, attn_implementation="eager")
        self.net = transformers.BertForSequenceClassification(config)

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.net(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


class Roberta(torch.nn.Module):
    """One output a sequence, the positions computed from the ids."""

    def __init__(self):
        super().__init__()
        config = transformers.RobertaConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=12,
                                            max_position_embeddings=12, type_vocab_size=1, num_labels=3, pad_token_id=1, attn_implementation="eager")
        self.net = transformers.RobertaForSequenceClassification(config)

    def forward(self, input_ids):
        return self.net(input_ids=input_ids).logits


def mlp():
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))


def smooth(f, y):  # label smoothing, spelled out: the dynamo exporter drops cross_entropy's own
    logs = torch.log_softmax(f, -1)
    return (-0.9 * logs.gather(1, y.unsqueeze(1)).squeeze(1) - 0.1 * logs.mean(1)).mean()


def direction(name, n):
    return torch.tensor([math.sin(1 + 0.7 * i + sum(name.encode())) for i in range(n)], dtype=torch.float64)


def clean(file):
    m = onnx.load(file)
    for n in m.graph.node:
        del n.metadata_props[:]
        n.doc_string = ""
    for v in m.graph.value_info:
        del v.metadata_props[:]
    del m.metadata_props[:], m.graph.metadata_props[:], m.graph.value_info[:]
    onnx.save(m, file)


def make(name, net, args, names, outs, loss, weights=False, exporters=("torchscript", "dynamo"), fixed=False, length=None):
    torch.manual_seed(len(name))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.5)
    net.eval()
    for exporter in exporters:
        file = os.path.join(HERE, f"{name}.{exporter}.onnx")
        with contextlib.redirect_stdout(io.StringIO()):
            if exporter == "dynamo":
                torch.onnx.export(net, args, file, dynamo=True, input_names=names, output_names=outs, external_data=False, verbose=False,
                                  dynamic_shapes=None if fixed else tuple({0: torch.export.Dim("batch"), **({1: length} if length else {})} for _ in args))
            else:
                torch.onnx.export(net, args, file, dynamo=False, input_names=names, output_names=outs, opset_version=17,
                                  dynamic_axes=None if fixed else {n: {0: "batch"} for n in names})
        clean(file)
        print(f"{name}.{exporter}", [n.op_type for n in onnx.load(file).graph.node][-8:], os.path.getsize(file))
    if loss is None:
        return
    net = net.double()
    params = dict(net.named_parameters())
    value = loss(net)
    grads = torch.autograd.grad(value, list(params.values()), create_graph=True, allow_unused=True)
    dot = sum((g * direction(k, p.numel()).view_as(p)).sum() for (k, p), g in zip(params.items(), grads) if g is not None)
    hv = torch.autograd.grad(dot, list(params.values()), allow_unused=True)
    x, y = args[0], LABELS[name]
    expected[name] = {"x": x.double().flatten().tolist(), "y": y.double().flatten().tolist(), "xshape": list(x.shape[1:]), "yshape": list(y.shape[1:]),
                      "loss": value.item(), "hv": {k: [float(f"{v:.12g}") for v in h.flatten().tolist()] for k, h in zip(params, hv) if h is not None}}


torch.manual_seed(0)
x = torch.randn(N, 6)
y, target = torch.tensor([0, 1, 2, 1, 0]), torch.randn(N, 3)
ids, next_ids = torch.randint(0, 11, (N, 7)), torch.randint(0, 11, (N, 7))
text = torch.randint(2, 20, (N, 7))  # without 0 and 1, of which PyTorch's autograd gives no derivative: padding_idx
weights = torch.tensor([1.0, 2.0, 0.5])
LABELS = {"ce": y, "smooth": y, "mse": target, "bce": target.sigmoid(), "lm": next_ids, "bert": y, "roberta": y}
own = lambda data: lambda net: net(data[0].double() if data[0].is_floating_point() else data[0], data[1].double() if data[1].is_floating_point() else data[1])
for name, f in {"ce": F.cross_entropy, "smooth": smooth}.items():
    make(name, WithLoss(mlp(), f), (x, y), ["x", "labels"], ["loss"], own((x, y)))
make("mse", WithLoss(mlp(), F.mse_loss), (x, target), ["input", "y"], ["loss"], own((x, target)))
make("bce", WithLoss(mlp(), F.binary_cross_entropy_with_logits), (x, target.sigmoid()), ["x", "target"], ["loss"], own((x, target.sigmoid())))
make("lm", WithLoss(Language(), lambda f, y: F.cross_entropy(f.view(-1, f.size(-1)), y.view(-1))), (ids, next_ids), ["input_ids", "labels"], ["loss"], own((ids, next_ids)))
make("weights", WithLoss(mlp(), lambda f, y: F.cross_entropy(f, y, weight=weights)), (x, y), ["x", "labels"], ["loss"], None)
make("ignore", WithLoss(mlp(), lambda f, y: F.cross_entropy(f, y, ignore_index=1)), (x, y), ["x", "labels"], ["loss"], None, exporters=("dynamo",))
make("sum", WithLoss(mlp(), lambda f, y: F.cross_entropy(f, y, reduction="sum")), (x, y), ["x", "labels"], ["loss"], None)
make("fixed", WithLoss(mlp(), F.cross_entropy), (x, y), ["a", "b"], ["loss"], None, exporters=("torchscript",), fixed=True)
ones, zeros = torch.ones_like(text), torch.zeros_like(text)
make("bert", Bert(), (text, ones, zeros), ["input_ids", "attention_mask", "token_type_ids"], ["logits"], lambda net: F.cross_entropy(net(text, ones, zeros), y),
     length=torch.export.Dim("length", max=10))
make("roberta", Roberta(), (text,), ["input_ids"], ["logits"], lambda net: F.cross_entropy(net(text), y), exporters=("dynamo",))
json.dump(expected, open(os.path.join(HERE, "expected.json"), "w"))
